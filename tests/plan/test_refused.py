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
    "branches": ({"schedule": lambda epoch: 0.1 if epoch < 1 else 0.01}, "jnp.where"),
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
    "ramp and max": (
        {"growth_factor": None, "ramp": {0: 10}, "max_batch_size": 20},
        "leave max_batch_size at None",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(change, message):
    with pytest.raises(jbatch.Mistake, match=message):
        jbatch.couple(**(GOOD | change))
