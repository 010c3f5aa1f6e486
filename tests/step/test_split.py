"""The result of a run does not depend on how its updates are split."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jbatch.data.order import epoch_order
from jbatch.models import MLP, CifarResNet, GhostBatchNorm
from jbatch.optim import SGD, Adam
from jbatch.plan.layout import Layout
from jbatch.step import programs, pure
from jbatch.task.base import Learner, Scores, Task
from marks import slow
from small_runs import DATA, DATASET, learner_of, run_updates, setup_of

PLAIN = learner_of(MLP((32,)), SGD(weight_decay=5e-4), label_smoothing=0.1)
# 48 in groups of 16 are 3 groups: on 2 devices each spans both, on 8 each spans all eight.
GHOST = learner_of(CifarResNet(1, (4, 8), GhostBatchNorm(16)), SGD(nesterov=True))
# Wide enough for the convolutions of CPUs, whose chunks follow the split.
WIDE = learner_of(CifarResNet(1, (64, 64), GhostBatchNorm(16)), SGD(nesterov=True))
ADAM = learner_of(MLP((32,), GhostBatchNorm(16)), Adam())
HALF = learner_of(CifarResNet(1, (4, 8), GhostBatchNorm(16)), SGD(nesterov=True), dtype="bfloat16")

# Any two splits add the same numbers in another order. A sum of n float32 terms of like size then
# differs by about √n · 2⁻²⁴ of itself: 1e-6 for the some 300 (examples times partial sums in a
# layer) that matter here. Twenty updates at these rates pass an error on without multiplying it
# (the steps are far below 1/curvature), so 20 such errors stay under 2e-5 of the largest
# parameter. Adam divides by the root of the second moment, which for small gradients makes
# relative errors of the gradient absolute ones of the step: its steps are 1e-3, errors 1e-5 of
# the largest parameter again.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Weighted(Task):
    """A linear regression of digits, in which each example weighs as much as its digit."""

    mean: float
    deviation: float

    def init(self, key, example):
        del key
        return {"w": jnp.zeros(example["pixels"].shape)}, {}

    def prepare(self, example, key):
        del key
        pixels = example["image"].astype(jnp.float32).ravel()
        return {
            "pixels": (pixels - self.mean) / self.deviation,
            "digit": example["label"].astype(jnp.float32),
        }

    def score(self, params, state, example, key):
        del key
        digit = example["digit"]
        square = (example["pixels"] @ params["w"] - digit) ** 2
        return Scores(square * digit, digit, {"digit": (digit * digit, digit)}), state


PIXELS = DATASET.train["image"].astype(np.float64)
WEIGHTED = Weighted(float(PIXELS.mean()), float(PIXELS.std()))
RAGGED = Learner(WEIGHTED, DATA.about.example, SGD(), 0.9)
SPLITS = [(2, 1, "shard_map"), (8, 1, "shard_map"), (8, 3, "shard_map"), (1, 3, "shard_map")]
NAMES = {PLAIN: "plain", GHOST: "ghost", WIDE: "wide", ADAM: "adam"}
PMAP = [(8, 1, "pmap"), (8, 3, "pmap")]


@pytest.fixture(scope="module", autouse=True)
def smooth():
    """Networks without ReLU's kink.

    Of the millions of inputs of ReLUs in a run, one may lie within rounding of zero. Two splits
    then may take different sides of the kink, and their gradients differ by a whole example's
    part: by 1e-3, not by rounding.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnx, "relu", nnx.silu)
        programs.compiled.cache_clear()
        yield
    programs.compiled.cache_clear()


@pytest.fixture(scope="module")
def whole():
    """The run of a task on one device in one pass, made when a test asks for it."""

    @cache
    def made(task):
        return run_updates(setup_of(task), batch_size=48, learning_rate=rate_of(task))

    return made


def rate_of(task):
    return 1e-3 if isinstance(task.optimizer, Adam) else 0.05


def assert_same(state, other):
    for mine, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        scale = float(jnp.abs(theirs).max()) or 1.0
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize(
    ("task", "devices", "passes", "mapping"),
    [
        *((PLAIN, *split) for split in SPLITS + PMAP),
        (ADAM, *SPLITS[2]),
        *(slow(WIDE, *split) for split in [SPLITS[0], SPLITS[3]]),
        *(slow(GHOST, *split) for split in [SPLITS[2], PMAP[1]]),
        slow(ADAM, *PMAP[0]),
    ],
    ids=lambda value: NAMES.get(value, str(value)),
)
def test_any_split_gives_the_same_parameters(whole, task, devices, passes, mapping):
    state, losses = run_updates(
        setup_of(task, devices, mapping),
        batch_size=48,
        passes=passes,
        learning_rate=rate_of(task),
    )
    expected, expected_losses = whole(task)
    assert_same(state.params, expected.params)
    assert_same(state.stats, expected.stats)
    np.testing.assert_allclose(losses, expected_losses, rtol=TOLERANCE)
    right, expected_right = (scores_of(task, each)["accuracy"] for each in (state, expected))
    assert right * 20 * 48 == pytest.approx(expected_right * 20 * 48, abs=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "passes", "mapping"),
    [SPLITS[0], SPLITS[2]],
    ids=str,
)
def test_any_split_of_bfloat16_agrees_to_its_own_rounding(devices, passes, mapping):
    """A pass's gradients are rounded to 8 bits, by 2⁻⁹ of themselves at most, wherever it ends.

    Twenty updates, whose errors do not know of each other, make √20 · 2⁻⁹ of a step in the end;
    twenty steps that all but cancel in some directions are a few of them: 5% of the way.
    """
    setup = setup_of(HALF)
    first = programs.initializer(setup)(np.uint32(3)).params
    expected, expected_losses = run_updates(setup, batch_size=48)
    state, losses = run_updates(setup_of(HALF, devices, mapping), batch_size=48, passes=passes)
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each)])
        for each in (state.params, expected.params, first)
    ]
    off, way = np.linalg.norm(flat[0] - flat[1]), np.linalg.norm(flat[1] - flat[2])
    assert off < 0.05 * way
    np.testing.assert_allclose(losses, expected_losses, rtol=2**-7)


@pytest.mark.parametrize(
    ("task", "mapping"),
    [(ADAM, "shard_map"), slow(GHOST, "shard_map"), slow(GHOST, "pmap")],
    ids=lambda value: NAMES.get(value, str(value)),
)
def test_ghost_batches_that_span_blocks_of_devices(task, mapping):
    """64 in groups of 16 on 8 devices: four blocks of two devices, each with a group of its own."""
    assert Layout(64, 8, 16).blocks == ((0, 1), (2, 3), (4, 5), (6, 7))
    rate = rate_of(task)
    expected, _ = run_updates(setup_of(task), batch_size=64, learning_rate=rate)
    state, _ = run_updates(setup_of(task, 8, mapping), batch_size=64, learning_rate=rate)
    assert_same(state.params, expected.params)
    assert_same(state.stats, expected.stats)


def test_examples_of_unequal_weight_count_by_their_weight_in_any_split():
    """The gradient is divided by the weight of the whole update, not by that of a part."""
    images, labels = first_batch()
    state, losses = run_updates(setup_of(RAGGED), batch_size=48, updates=1, learning_rate=1e-3)
    gradient = 2 * images.T @ (-labels * labels) / labels.sum()
    np.testing.assert_allclose(state.params["w"], -1e-3 * gradient, rtol=0, atol=1e-8)
    assert losses == pytest.approx([(labels**3).sum() / labels.sum()], rel=1e-6)
    digit = scores_of(RAGGED, state)["digit"]
    assert digit == pytest.approx((labels**2).sum() / labels.sum())
    expected, _ = run_updates(setup_of(RAGGED), batch_size=48, learning_rate=1e-3)
    for devices, passes in ((8, 1), (1, 3), (8, 3)):
        setup = setup_of(RAGGED, devices)
        split, _ = run_updates(setup, batch_size=48, passes=passes, learning_rate=1e-3)
        assert_same(split.params, expected.params)


def scores_of(learner, state):
    return learner.task.finish(pure.exact(state.totals))


def first_batch():
    """The pixels, normalized, and the digits of the first update, in float64."""
    labels = DATASET.train["label"]
    order = epoch_order(3, 0, len(labels))[:48]
    images = (PIXELS - PIXELS.mean()) / PIXELS.std()
    return images[order].reshape(48, 64), labels[order].astype(np.float64)
