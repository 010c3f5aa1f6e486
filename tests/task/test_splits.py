"""Tasks of a user's own train the same, however an update is split."""

import jax
import numpy as np
import pytest
from own import STORIES, learner_of

from marks import slow
from small_runs import run_updates, setup_of

# Of the largest number of a tree. Sums in another order differ by about 1e-7 of themselves; three
# updates of these small sums stay below 1e-6.
TOLERANCE = 1e-6
# Devices, passes, mapping. With groups of 16, 48 examples are 3 groups: on 2 devices each spans
# both, on 8 all eight.
SPLITS = [(2, 1, "shard_map"), (8, 1, "shard_map"), (8, 3, "shard_map"), (1, 3, "shard_map")]


@pytest.fixture(scope="module")
def whole():
    """The run on one device in one pass, for each story."""
    found = {}

    def get(name):
        if name not in found:
            found[name] = trained(name)
        return found[name]

    return get


def trained(name, devices=1, passes=1, mapping="shard_map"):
    learner, data = learner_of(name, average=100.0)
    setup = setup_of(learner, devices, mapping, data)
    return run_updates(
        setup, batch_size=48, passes=passes, updates=3, learning_rate=1e-3, data=data
    )


def assert_same(state, other):
    scale = max([float(np.abs(leaf).max()) for leaf in jax.tree.leaves(other)], default=0) or 1.0
    for mine, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize(
    ("name", "devices", "passes", "mapping"),
    [
        ("functions", *SPLITS[2]),
        *(slow(name, *SPLITS[2]) for name in STORIES if name != "functions"),
        *(slow("contrastive", *split) for split in SPLITS[:2]),
        slow("linen", *SPLITS[3]),
        slow("nnx", 8, 3, "pmap"),
    ],
)
def test_any_split_gives_the_same_parameters(whole, name, devices, passes, mapping):
    state, losses = trained(name, devices, passes, mapping)
    expected, expected_losses = whole(name)
    assert_same(state.params, expected.params)
    assert_same(state.stats, expected.stats)
    assert_same(state.average.params, expected.average.params)
    assert_same(state.average.stats, expected.average.stats)
    np.testing.assert_allclose(losses, expected_losses, rtol=TOLERANCE)
    assert_same(state.totals.sums, expected.totals.sums)
