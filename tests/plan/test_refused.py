"""What no plan can be made of."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jbatch
from couplings import GOOD

REFUSED = {
    "text for a length": ({"num_epochs": "3"}, "num_epochs is '3': give a number"),
    "no momentum": ({"momentum": None}, "momentum is None: give a number"),
    "text for a scaling": ({"scaling": "1"}, "scaling is '1': give a number"),
    "text for a factor": ({"growth_factor": "2"}, "growth_factor is '2': give a number"),
    "one size": (
        {"growth_factor": None, "batch_sizes": 10},
        r"batch_sizes is 10: give .* \(10,\)",
    ),
    "a ramp of pairs": (
        {"growth_factor": None, "ramp": [(0, 10)]},
        "give a dict of epoch → batch size",
    ),
    "a ramp of texts": (
        {"growth_factor": None, "ramp": {"0": 10}},
        "an epoch of ramp is '0': give a number",
    ),
    "negative rate": ({"schedule": optax.linear_schedule(1.0, -1.0, 3)}, "-.* at epoch 1.5"),
    "nan": ({"schedule": lambda epoch: epoch * float("nan")}, "nan at epoch 0"),
    "zero throughout": ({"schedule": optax.constant_schedule(0.0)}, "0 at every update"),
    "not callable": ({"schedule": 0.1}, "constant_schedule"),
    "plateau": (
        {"schedule": optax.contrib.reduce_on_plateau(0.5)},
        "watch the loss",
    ),
    "of the loss": ({"schedule": lambda epoch, loss: epoch * loss}, "depend on the loss"),
    "branches to text": (
        {"schedule": lambda epoch: 0.1 if epoch < 1 else "slow"},
        "the schedule gives 'slow': return a number",
    ),
    "branches, and fails": (
        {"schedule": lambda epoch: 0.1 if epoch < 1 else 1 / 0},
        r"the schedule fails .*test_refused.py, line \d+\): ZeroDivisionError",
    ),
    "branches to two": (
        {"schedule": lambda epoch: np.full(2, 0.1) if epoch < 1 else 0.1 * np.ones(2)},
        r"shape \(2,\) per epoch, not one rate",
    ),
    "vector": ({"schedule": lambda epoch: epoch * np.ones(2, np.float32)}, "not one rate"),
    "max under first": ({"max_batch_size": 5}, "max_batch_size 5 is under the first batch, 10"),
    "max over N": ({"max_batch_size": 1001}, "1,001 is over the 1,000 examples"),
    "batch over N": ({"batch_size": 2000}, "batch_size 2,000 is over"),
    "batch 0": ({"batch_size": 0}, "batch_size is 0"),
    "fraction of an example": ({"batch_size": 12.5}, "batch_size is 12.5"),
    "no epochs": ({"num_epochs": 0}, "num_epochs is 0"),
    "momentum 1": ({"momentum": 1.0}, "momentum is 1.0"),
    "scaling 2": ({"scaling": 2.0}, "scaling is 2.0"),
    "scaling -1": ({"scaling": -1.0}, "scaling is -1.0"),
    "endless growth": ({"scaling": 0.0, "growth": float("inf")}, "growth is inf: give at least"),
    "growth -1": ({"scaling": 0.0, "growth": -1.0}, "growth is -1.0: give at least 0"),
    "large base": (
        {"base_batch_size": 2000, "adapt_regime": True},
        "base_batch_size 2,000 is over the 1,000",
    ),
    "regime of no base": ({"adapt_regime": True}, "adapt_regime needs base_batch_size"),
    "base 0": ({"base_batch_size": 0}, "base_batch_size is 0"),
    "growth over 1/p": ({"growth": 1.5}, "growth is 1.5, outside 0 to 1/scaling = 1"),
    "two ways": ({"batch_multiple": 10}, "growth_factor and batch_multiple .*: give only one of"),
    "a maximum and no way": (
        {"growth_factor": None, "max_batch_size": 40},
        "max_batch_size is 40, .* the batch of 10 .*: give one of",
    ),
    "infinite once": (
        {"schedule": lambda epoch: 0.01 / jnp.sqrt(epoch)},
        "gives inf at epoch 0:",
    ),
    "nan within": (
        {"schedule": lambda epoch: jnp.where(epoch == 2, jnp.nan, 0.1)},
        "gives nan at epoch 2:",
    ),
    "rate over float32": (
        {"schedule": optax.constant_schedule(3e38), "base_batch_size": 1},
        "float32",
    ),
    "endless": ({"num_epochs": 1e18}, "1e\\+20 updates, and a plan holds at most 10,000,000"),
    "a tiny length": ({"num_epochs": 1e-320}, "position 0, .* give a longer run"),
    "no such number": ({"num_examples": 10**24}, "num_examples is 1000000000000000000000000: "),
    "all positions": ({"num_examples": 2**63 - 1}, "give a whole number of at most"),
    "number of any length": (
        {"batch_size": 10**5000},
        "batch_size is a value of type int: give a whole number of at most",
    ),
    "float over all": ({"num_epochs": 10**400}, "num_epochs is 10{98}…: give a number"),
    "every size": (
        {"growth_factor": None, "batch_multiple": 1, "num_examples": 2**50, "num_epochs": 1e-9},
        "over 10,000,000 sizes",
    ),
    "no growth": ({"growth_factor": 1.0}, "does not grow"),
    "half examples": ({"growth_factor": 1.25}, "12.5 examples"),
    "sizes not from B0": (
        {"growth_factor": None, "batch_sizes": [20, 40]},
        "do not start with batch_size 10",
    ),
    "sizes shrink": ({"growth_factor": None, "batch_sizes": [10, 40, 20]}, "do not ascend"),
    "sizes over N": ({"growth_factor": None, "batch_sizes": [10, 2000]}, "over the 1,000"),
    "no multiple": (
        {"growth_factor": None, "batch_multiple": 4},
        "nearest are 8 and 12",
    ),
    "ramp late": ({"growth_factor": None, "ramp": {1: 10}}, "does not start at epoch 0"),
    "ramp disagrees": ({"growth_factor": None, "ramp": {0: 20}}, "starts with 20"),
    "ramp shrinks": ({"growth_factor": None, "ramp": {0: 10, 1: 5}}, "does not ascend"),
    "ramp over N": ({"growth_factor": None, "ramp": {0: 10, 1: 5000}}, "over the 1,000"),
    "ramp repeats": (
        {"growth_factor": None, "ramp": {0: 10, 1: 10}, "allow_shrink": True},
        "a size twice in a row: give it once",
    ),
    "thresholds fall": (
        {"growth_factor": None, "ramp": "0:10 250B:20 100B:40"},
        "100B:40 after a threshold of 250,000,000,000: thresholds must rise",
    ),
    "no notation": (
        {"growth_factor": None, "ramp": "0-10, 1-20"},
        "ramp has '0-10': write THRESHOLD:SIZE, as in \"0:768 250B:1536\", or START",
    ),
    "an empty notation": ({"growth_factor": None, "ramp": " "}, "does not start at epoch 0"),
    "increments without an end": (
        {"growth_factor": None, "ramp": "10 10 500"},
        "give the size that it ends at as max_batch_size",
    ),
    "increments that miss the end": (
        {"growth_factor": None, "ramp": "10 20 500", "max_batch_size": 40},
        "from 10 by 20 does not end at 40",
    ),
    "shrinking without a ramp": ({"allow_shrink": True}, "allow_shrink is for a ramp"),
    "no first batch": ({"batch_size": None}, "batch_size is not given"),
    "two lengths": ({"length": 3}, "num_epochs is 3 and length is 3, and both .*: give only one"),
    "no length": ({"num_epochs": None}, "no length: give length, in epochs, or num_epochs"),
    "a length of nothing": (
        {"num_epochs": None, "length": 0, "unit": "examples"},
        "length is 0.0: give a number of examples over 0",
    ),
    "an unknown unit": ({"unit": "token"}, "unit is 'token': .* did you mean tokens\\?"),
    "a unit of no kind": ({"unit": 3}, "unit is 3: give one of epochs, examples, tokens, updates"),
    "epochs of a stream": (
        {"num_examples": None},
        "num_examples is not given, and the plan counts epochs: give num_examples, or",
    ),
    "a stream's length in epochs": (
        {"num_examples": None, "unit": "examples"},
        "num_epochs is 3, but num_examples is not given, .* or length in examples",
    ),
    "tokens of unknown examples": (
        {"unit": "tokens"},
        "counts tokens, but sequence_length is not given",
    ),
    "no tokens": ({"sequence_length": 0}, "sequence_length is 0: give a whole number"),
    "updates of a large base": (
        {"unit": "updates", "base_batch_size": 2000},
        "the base batch of 2,000 is over the 1,000 examples of an epoch",
    ),
    "a batch over the stream": (
        {"num_examples": None, "num_epochs": None, "unit": "examples", "length": 5},
        "batch_size 10 is over the 5 examples of the run",
    ),
    "a maximum over the stream": (
        {
            "num_examples": None,
            "num_epochs": None,
            "unit": "updates",
            "length": 5,
            "max_batch_size": 51,
        },
        "max_batch_size 51 is over the 50 examples of the run",
    ),
    "an endless stream": (
        {"num_examples": None, "num_epochs": None, "unit": "tokens", "length": 1e300}
        | {"sequence_length": 8},
        "the run is 1e\\+288T tokens long: .* a plan holds at most 10,000,000",
    ),
    "ramp and max": (
        {"growth_factor": None, "ramp": {0: 10}, "max_batch_size": 20},
        "leave max_batch_size at None",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(change, message):
    with pytest.raises(jbatch.Mistake, match=message):
        jbatch.couple(**(GOOD | change))
