"""Datasets in memory: every device holds all examples as uint8, indexes and augments them."""

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbatch.data.dataset import Dataset, Split
from jbatch.data.image.augment import Augment, augment, example_keys
from jbatch.data.image.normalize import Normalize, affine, normalized
from jbatch.data.inputs import Arguments
from jbatch.data.order import epoch_order
from jbatch.devices import meshes
from jbatch.models.batch import Batch
from jbatch.plan.layout import AXIS, Layout
from jbatch.testing import point

# Dispatch is asynchronous, and this many calls may be queued: enough to hide the host's work, few
# enough to bound memory. On simulated CPU devices, JAX 0.10.2 hangs if over 32 queued calls hold a
# collective.
MOST_IN_FLIGHT = 16


class Resident(NamedTuple):
    """A split on the devices, replicated on each."""

    images: jax.Array  # (N, H, W, C) uint8
    labels: jax.Array  # (N,) int32
    shift: jax.Array  # (C,) float32, from `normalize.affine`
    factor: jax.Array  # (C,) float32


def training_batch(
    resident: Resident,
    order: jax.Array,
    seed: jax.Array,
    epoch: jax.Array,
    places: jax.Array,
    augmentation: Augment,
    normalization: Normalize,
) -> Batch:
    """Get the examples at `places` of an epoch.

    Args:
        resident: the training set.
        order: (N,) int32, the epoch's permutation.
        seed: uint32 scalar, for the augmentation.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.
        augmentation: random changes to the images.
        normalization: applied after the augmentation.
    """
    index = order[places]
    keys = example_keys(seed, epoch, places)
    images = augment(augmentation, resident.images[index], keys)
    images = normalized(normalization, images, resident.shift, resident.factor)
    return Batch(images, resident.labels[index], keys)


def evaluation_batch(
    resident: Resident, start: jax.Array, size: int, normalization: Normalize
) -> tuple[Batch, jax.Array]:
    """Get `size` examples from `start` on, and which of them exist: (batch, (size,) bool)."""
    index = start + jnp.arange(size, dtype=jnp.int32)
    count = resident.labels.shape[0]
    within = jnp.minimum(index, count - 1)
    images = normalized(normalization, resident.images[within], resident.shift, resident.factor)
    return Batch(images, resident.labels[within], None), index < count


@dataclass(frozen=True)
class ResidentInputs:
    """The part of a compiled step that gets examples from a dataset in memory; hashable."""

    num_examples: int
    num_test: int
    input_shape: tuple[int, ...]  # (H, W, C)
    augment: Augment
    normalize: Normalize

    per_device = (False, False, False, False)  # all arguments are the same on all devices
    evaluation_per_device = (False, False)
    several = True
    most_evaluated = 256

    def shapes(self, layout: Layout) -> Arguments:
        """Return shapes of the training set, the epoch's order, seed, and (epoch, first place)."""
        del layout
        return (
            resident_shapes(self.num_examples, self.input_shape),
            jax.ShapeDtypeStruct((self.num_examples,), np.int32),
            jax.ShapeDtypeStruct((), np.uint32),
            jax.ShapeDtypeStruct((2,), np.uint32),
        )

    def held(self, layout: Layout) -> int:
        """Count the bytes of the test set."""
        del layout
        return math.prod((self.num_test, *self.input_shape)) + 4 * self.num_test

    def batch(
        self,
        layout: Layout,
        resident: Resident,
        order: jax.Array,
        seed: jax.Array,
        where: jax.Array,
    ) -> Batch:
        """Get this device's examples of a pass, in the order of `layout.places`."""
        epoch, first = where
        places = first + layout.places(jax.lax.axis_index(AXIS)).astype(jnp.uint32)
        return training_batch(resident, order, seed, epoch, places, self.augment, self.normalize)

    def later(
        self,
        number: jax.Array,
        layout: Layout,
        resident: Resident,
        order: jax.Array,
        seed: jax.Array,
        where: jax.Array,
    ) -> Arguments:
        """Return the arguments of the pass `number` (int32 scalar) passes later in the epoch."""
        passed = jnp.stack((jnp.int32(0), number * layout.size)).astype(jnp.uint32)
        return resident, order, seed, where + passed

    def evaluation_shapes(self, size: int, devices: int) -> Arguments:
        """Return shapes of the test set, and of the pass's first place."""
        del size, devices
        test = resident_shapes(self.num_test, self.input_shape)
        return test, jax.ShapeDtypeStruct((), np.int32)

    def evaluation_batch(
        self, size: int, resident: Resident, start: jax.Array
    ) -> tuple[Batch, jax.Array]:
        """Get this device's `size` examples of a pass, and which of them exist: (size,) bool."""
        mine = start + jax.lax.axis_index(AXIS) * size
        return evaluation_batch(resident, mine, size, self.normalize)


class ResidentData:
    """A dataset in memory, ready to be put on the devices."""

    def __init__(self, dataset: Dataset, augment: Augment, normalize: Normalize):
        self.dataset, self.num_classes = dataset, dataset.num_classes
        self.inputs = ResidentInputs(
            num_examples=len(dataset.train.labels),
            num_test=len(dataset.test.labels),
            input_shape=dataset.train.images.shape[1:],
            augment=augment,
            normalize=normalize,
        )

    def digest(self) -> str:
        """Hash all examples (SHA-256)."""
        hashed = hashlib.sha256()
        for array in (*self.dataset.train, *self.dataset.test):
            hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()

    def feed(self, mesh: Mesh, seed: int, *_: object) -> "ResidentFeed":
        """Put the training set on the devices; its feed can start at any update."""
        return ResidentFeed(self.placed(self.dataset.train, mesh), seed, meshes.replicated(mesh))

    def test(self, mesh: Mesh, size: int) -> "ResidentTest":
        """Put the test set on the devices, for passes of `size` examples per device."""
        placed = self.placed(self.dataset.test, mesh)
        return ResidentTest(placed, range(0, self.inputs.num_test, size * mesh.size))

    def placed(self, split: Split, mesh: Mesh) -> Resident:
        """Put a split on the devices, with the normalization from the training set."""
        by = affine(self.inputs.normalize, self.dataset.train.images)
        return Resident(*jax.device_put((*split, *by), meshes.replicated(mesh)))


class ResidentFeed:
    """Supplies the compiled step's arguments: data, the epoch's order, seed and position."""

    most_in_flight = MOST_IN_FLIGHT
    waited = 0.0
    damaged: tuple[str, ...] = ()

    def __init__(self, resident: Resident, seed: int, sharding: jax.sharding.Sharding):
        self._count = resident.labels.shape[0]
        self._resident = resident
        self._seed = jax.device_put(np.uint32(seed), sharding)
        self._pool = ThreadPoolExecutor(1, "order")
        # The order of the next epoch is sorted in advance: sorting takes longer than an update.
        sorting = lru_cache(2)(
            lambda epoch: self._pool.submit(epoch_order, seed, epoch, self._count)
        )

        @lru_cache(1)
        def order(epoch: int) -> jax.Array:
            found = sorting(epoch).result()
            sorting(epoch + 1)
            # In this thread: with several processes, JAX compares the arrays by a collective.
            placed: jax.Array = jax.device_put(found, sharding)
            return placed

        self._order = order

    def ready(self, seconds: float) -> bool:
        """Tell that the next pass is ready, as all data is in memory."""
        del seconds
        return True

    def arguments(self, position: int, layout: Layout) -> Arguments:
        """Return the arguments of the pass that starts at `position`; it stays in one epoch."""
        epoch, place = divmod(position, self._count)
        where = np.array((epoch, place), np.uint32)  # one transfer
        found = self._resident, self._order(epoch), self._seed, where
        point("pass", (layout, found))  # devices compute their own places from the layout
        return found

    def close(self) -> None:
        """End the thread. The arrays are freed with their last use."""
        self._pool.shutdown(cancel_futures=True)


class ResidentTest:
    """Supplies an evaluation's arguments: data and position."""

    most_in_flight = MOST_IN_FLIGHT
    damaged: tuple[str, ...] = ()

    def __init__(self, resident: Resident, starts: range):
        self._resident, self._starts = resident, starts

    def passes(self) -> Iterator[Arguments]:
        """Yield the arguments of each pass of one evaluation."""
        return ((self._resident, np.int32(start)) for start in self._starts)

    def close(self) -> None:
        """Do nothing: it has no workers."""


def resident_shapes(num_examples: int, input_shape: tuple[int, ...]) -> Resident:
    """Return shapes and dtypes of a split on the devices."""
    shaped: Any = jax.ShapeDtypeStruct  # each stands for an array
    return Resident(
        images=shaped((num_examples, *input_shape), np.uint8),
        labels=shaped((num_examples,), np.int32),
        shift=shaped(input_shape[-1:], np.float32),
        factor=shaped(input_shape[-1:], np.float32),
    )
