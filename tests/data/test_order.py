"""The order of examples, and that nothing but seed and position decides it."""

import itertools
from functools import cache

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import jbatch
from jbatch.data.batch import spec_of
from jbatch.data.order import epoch_order
from jbatch.data.resident import ResidentFeed, ResidentInputs
from jbatch.devices import meshes, spmd
from jbatch.plan.layout import AXIS
from jbatch.plan.passes import cut

N = 200


def test_golden_ids():
    """Pinned: a change here changes every run that anybody has."""
    assert epoch_order(0, 0, 10).tolist() == GOLDEN[0, 0]
    assert epoch_order(0, 1, 10).tolist() == GOLDEN[0, 1]
    assert epoch_order(7, 0, 10).tolist() == GOLDEN[7, 0]
    epoch, place = divmod(1_000_000_007, 1_281_167)
    ids = epoch_order(0, epoch, 1_281_167)[place : place + 5]
    assert ids.tolist() == GOLDEN["imagenet"]


GOLDEN = {
    (0, 0): [0, 2, 9, 1, 8, 5, 4, 3, 6, 7],
    (0, 1): [5, 3, 7, 8, 2, 4, 1, 0, 6, 9],
    (7, 0): [8, 4, 1, 6, 3, 2, 7, 5, 9, 0],
    "imagenet": [1224333, 645740, 716406, 742878, 530565],
}


def test_each_epoch_is_a_permutation_of_its_own():
    orders = [epoch_order(seed, epoch, 1000) for seed in (0, 1) for epoch in (0, 1, 2)]
    for order in orders:
        assert sorted(order) == list(range(1000))
    for one, other in itertools.combinations(orders, 2):
        assert np.mean(one == other) < 0.02  # 0.001 by chance


def ids_on_devices(plan, devices, limit, mapping, permuted=False):
    """Example ids in the order of places, as the devices index them, over the whole plan."""
    chosen = jax.devices()[:devices]
    mesh = Mesh(np.array(chosen[::-1] if permuted else chosen), (AXIS,))
    train = {"id": np.arange(N, dtype=np.int32)}
    inputs = ResidentInputs(N, 1, spec_of(train))
    feed = ResidentFeed(train, 5, meshes.replicated(mesh))
    passes = cut(set(plan.batch_sizes.tolist()), devices, 8, limit)

    @cache
    def reader(layout):
        def ids_and_places(*arguments):
            found = inputs.batch(layout, *arguments).examples["id"]
            return found, layout.places(jax.lax.axis_index(AXIS))

        return spmd.Mapped(
            ids_and_places,
            mesh,
            mapping,
            inputs.shapes(layout),
            per_device=inputs.per_device,
            per_device_out=(True, True),
        ).compile()

    ids = []
    for update in range(plan.num_updates):
        row = plan.at(update)
        position = row.position
        for layout in passes[row.batch_size].layouts:
            found, places = reader(layout)(*feed.arguments(position, layout))
            found, places = np.asarray(found).ravel(), np.asarray(places).ravel()
            assert sorted(places) == list(range(layout.size))
            ids += zip((position + places).tolist(), found.tolist(), strict=True)
            position += layout.size
        assert position == row.position + row.batch_size
    return sorted(ids)


@pytest.fixture(scope="module")
def plans():
    schedule = optax.piecewise_constant_schedule(0.1, {1: 0.2, 2: 0.5})
    return {
        largest: jbatch.couple(
            schedule,
            num_examples=N,
            num_epochs=3,
            batch_size=8,
            batch_sizes=[8, 40, 80],
            max_batch_size=largest,
        )
        for largest in (8, 40, 80)
    }


@pytest.mark.parametrize(
    ("largest", "devices", "limit", "mapping", "permuted"),
    [
        (8, 1, None, "shard_map", False),
        (40, 2, None, "shard_map", False),
        (80, 8, None, "shard_map", False),
        (80, 8, 1, "shard_map", True),
        (80, 4, 10, "shard_map", True),
        (80, 8, None, "pmap", False),
    ],
)
def test_every_split_and_schedule_sees_the_same_examples(
    plans, largest, devices, limit, mapping, permuted
):
    plan = plans[largest]
    ids = ids_on_devices(plan, devices, limit, mapping, permuted)
    # The stream itself, up to each epoch's last whole batch.
    expected = [
        (position, int(epoch_order(5, position // N, N)[position % N]))
        for row in map(plan.at, range(plan.num_updates))
        for position in range(row.position, row.position + row.batch_size)
    ]
    assert ids == expected
