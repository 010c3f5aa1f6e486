"""`jbatch check` finds tasks whose updates depend on how they are split, and accuses no other."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jbatch import Adam, Arrays, Classify, Coupling, Experiment, Generated, Scores, Task
from jbatch.analysis.gradients import LEAST, MARGIN, ROUNDINGS, Seen, difference, moved
from jbatch.analysis.split_check import check_experiment
from jbatch.step.pure import State, Totals
from marks import slow

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(192, 6)).astype(np.float32)
DATA = Arrays({"x": ROWS, "tokens": np.arange(192) % 5}, {"x": ROWS[:7], "tokens": np.ones(7, int)})
PLAN = Coupling(optax.constant_schedule(0.1), num_epochs=1, batch_size=64, momentum=0.9)
SPLITS = {"1 device, 2 passes", "1 device, 4 passes"}


@dataclass(frozen=True)
class Right(Task):
    """A regression with noise and a weight for each example."""

    def init(self, key, example):
        return {"w": jax.random.normal(key, (6,))}, {}

    def score(self, params, state, example, key):
        x = example["x"] if key is None else example["x"] + jax.random.normal(key, (6,))
        error = x @ params["w"] - 1
        weight = 1.0 + example["tokens"].astype(jnp.float32)
        return Scores(weight * error**2, weight, {"wrong": error > 0}), state


@dataclass(frozen=True)
class Own(Right):
    """A task that adds up a pass itself."""

    fault: str = ""

    def sums(self, params, state, batch, layout):
        keys = batch.keys
        if self.fault == "one key for all":
            keys = jnp.broadcast_to(keys[:1], keys.shape)
        if self.fault == "statistics of the pass":
            x = batch.examples["x"]
            batch = batch._replace(examples={**batch.examples, "x": x - x.mean(0)})
        scores, left = super().sums(params, state, batch._replace(keys=keys), layout)
        loss, weight = scores["loss"]
        if self.fault == "mean of means":
            loss, weight = loss / weight, jnp.ones_like(weight)
        if self.fault == "a penalty for each pass":
            loss = loss + 0.1 * (params["w"] ** 2).sum()
        return {**scores, "loss": (loss, weight)}, left


def splits(task, **changes):
    """The outcome of each split of one device's updates by name, and what was checked before."""
    experiment, found = Experiment(**{"plan": PLAN, "task": task, "data": DATA, **changes}), {}
    for one in check_experiment(experiment, jax.devices()[:1]):
        if one.what == "2 resumes":
            break
        found[one.what] = one
    return found


@pytest.mark.slow
def test_a_task_that_adds_up_is_not_accused():
    found = splits(Own())
    assert all(one.passed for one in found.values()), found
    assert found.keys() >= SPLITS


@pytest.mark.parametrize(
    "fault",
    [
        "a penalty for each pass",
        *map(slow, ("one key for all", "statistics of the pass", "mean of means")),
    ],
)
def test_each_split_of_a_faulty_task_is_accused(fault):
    found = splits(Own(fault=fault))
    assert {what for what, one in found.items() if not one.passed} == SPLITS
    for what in SPLITS:
        assert "its examples see more than themselves and their group" in found[what].found


class Deep(nnx.Module):
    """Ten layers of ReLUs between batch norms: some inputs are within rounding of 0."""

    def __init__(self, rngs):
        def layer(width):
            norm = nnx.BatchNorm(64, axis_name="group", rngs=rngs)
            return nnx.Sequential(nnx.Linear(width, 64, use_bias=False, rngs=rngs), norm, nnx.relu)

        self.layers = nnx.Sequential(layer(48), *(layer(64) for _ in range(9)))
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, image):
        return self.head(self.layers(image.reshape(-1)))


@pytest.mark.slow
def test_a_deep_network_of_relus_is_not_accused_under_adam():
    task = Classify(Deep, ghost_batch=16)
    data, plan = Generated(192, 20, (4, 4, 3), 10), replace(PLAN, schedule=lambda _: 0.01)
    found = splits(task, data=data, plan=plan, optimizer=Adam())
    assert all(one.passed for one in found.values()), found


def state(w, loss):
    """A state whose optimizer has kept a gradient."""
    scores = {"loss": (np.float32(loss), np.float32(8))}
    none = jax.tree.map(np.zeros_like, scores)
    return State({"w": w}, {}, Seen((), {"w": w}), Totals(scores, none), np.int32(1), None)


def test_a_difference_is_allowed_up_to_what_rounding_does():
    w = np.ones(16, np.float32)
    here, rounded = state(w, 4), state(w + 1e-3, 4)
    assert difference(here, state(w + 4e-3, 4), rounded, half=False).ratio < 1
    found = difference(here, state(w + 5e-3, 4), rounded, half=False)
    assert found.ratio > 1
    assert found.where == "the gradient of ['w']"
    expected = 5e-3, MARGIN * 1e-3 + LEAST
    np.testing.assert_allclose((found.share, found.allowed), expected, rtol=1e-3)
    assert difference(here, state(w + np.nan, 4), rounded, half=False).ratio == np.inf
    assert difference(here, state(w, 4.01), here, half=False).where == "score['loss'][0]"
    assert difference(here, state(w, 4.01), here, half=True).ratio < 1


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_moved_moves_each_parameter_by_some_roundings(dtype):
    w = np.linspace(-3, 3, 1000).astype(dtype)
    there = moved(state(w, 1)).params["w"]
    assert there.dtype == dtype
    by = np.abs(there.astype(np.float64) / w.astype(np.float64) - 1)
    eps = float(jnp.finfo(dtype).eps)
    assert eps / 4 < by.min() <= by.max() < 1.5 * max(ROUNDINGS * 2**-23, eps)
