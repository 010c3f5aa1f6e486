"""Short runs whose models the tests load, export and begin with."""

from pathlib import Path

import jax
import numpy as np
import optax

from jbatch import MLP, Classify, Coupling, Digits, Experiment
from jbatch.run.metrics import read_metrics

ONE = jax.devices()[:1]
DIGITS = Digits().load()


def constant(num_epochs=4) -> Coupling:
    return Coupling(optax.constant_schedule(0.05), num_epochs=num_epochs, batch_size=50)


# In its last epoch the rate is far too large, so that the best evaluation is not the last.
SPOILT = Coupling(
    optax.piecewise_constant_schedule(0.1, {3: 12}), num_epochs=4, batch_size=50, momentum=0.9
)
FIRST = Experiment(
    SPOILT,
    task=Classify(MLP((32,))),
    data=Digits(),
    average=1500,
    save_every=1,
    keep_every=2,
    keep_best="loss",
    updates_per_call=10,
    micro_batch=50,
)
TUNED = Experiment(
    constant(),
    task=Classify(MLP((32,))),
    data=Digits(),
    seed=5,
    save_every=1,
    updates_per_call=10,
    micro_batch=50,
)


class Ended(Exception):
    """What a callback raises."""


def evaluations(directory) -> list[dict]:
    return [
        line for line in read_metrics(Path(directory) / "metrics.jsonl") if line["kind"] == "eval"
    ]


def accuracy(logits) -> float:
    return float((logits.argmax(1) == DIGITS.test["label"]).mean())


def same(one, other) -> bool:
    here, there = jax.tree.leaves(one), jax.tree.leaves(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b)
        for a, b in zip(here, there, strict=True)
    )
