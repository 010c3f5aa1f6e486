"""Datasets in memory: every device holds all examples, and indexes them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbatch.data.about import About
from jbatch.data.batch import Batch, Example, Spec, spec_of
from jbatch.data.dataset import Dataset
from jbatch.data.inputs import Arguments
from jbatch.data.keys import example_keys, example_turns
from jbatch.data.order import epoch_order
from jbatch.devices import meshes
from jbatch.plan.layout import AXIS, Layout
from jbatch.testing import point

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    Hashing = Callable[[], Hash]

# Dispatch is asynchronous, and this many calls may be queued: enough to hide the host's work, few
# enough to bound memory. On simulated CPU devices, JAX 0.10.2 hangs if over 32 queued calls hold a
# collective.
MOST_IN_FLIGHT = 16


@dataclass(frozen=True)
class ResidentInputs:
    """The part of a compiled step that gets examples from a dataset in memory; hashable."""

    num_examples: int
    num_test: int
    example: Spec

    per_device = (False, False, False, False)  # all arguments are the same on all devices
    evaluation_per_device = (False, False)
    most_evaluated = 256

    def shapes(self, layout: Layout) -> Arguments:
        """Return shapes of the training set, the epoch's order, seed, and (epoch, first place)."""
        del layout
        return (
            self.example.stacked(self.num_examples),
            jax.ShapeDtypeStruct((self.num_examples,), np.int32),
            jax.ShapeDtypeStruct((), np.uint32),
            jax.ShapeDtypeStruct((2,), np.uint32),
        )

    def held(self, layout: Layout) -> int:
        """Count the bytes of the test set."""
        del layout
        return self.num_test * self.example.nbytes

    def batch(
        self,
        layout: Layout,
        train: Example,
        order: jax.Array,
        seed: jax.Array,
        where: jax.Array,
    ) -> Batch:
        """Get this device's examples of a pass, in the order of `layout.places`.

        Args:
            layout: how the devices share the pass.
            train: the training set, every leaf (N, …).
            order: (N,) int32, the epoch's permutation.
            seed: uint32 scalar, for the examples' keys.
            where: (2,) uint32, the epoch and the pass's first place in it.
        """
        epoch, first = where
        places = first + layout.places(jax.lax.axis_index(AXIS)).astype(jnp.uint32)
        index = order[places]
        examples = jax.tree.map(lambda leaf: leaf[index], train)
        return Batch(examples, example_keys(seed, epoch, places), example_turns(seed, epoch, index))

    def later(
        self,
        number: jax.Array,
        layout: Layout,
        train: Example,
        order: jax.Array,
        seed: jax.Array,
        where: jax.Array,
    ) -> Arguments:
        """Return the arguments of the pass `number` (int32 scalar) passes later in the epoch."""
        passed = jnp.stack((jnp.int32(0), number * layout.size)).astype(jnp.uint32)
        return train, order, seed, where + passed

    def evaluation_shapes(self, size: int, devices: int) -> Arguments:
        """Return shapes of the test set, and of the pass's first place."""
        del size, devices
        return self.example.stacked(self.num_test), jax.ShapeDtypeStruct((), np.int32)

    def evaluation_batch(
        self, size: int, test: Example, start: jax.Array
    ) -> tuple[Batch, jax.Array]:
        """Get this device's `size` examples of a pass, and which of them exist: (size,) bool.

        The last pass is filled up with the first examples, which complete its last group.
        """
        return some(test, start + jax.lax.axis_index(AXIS) * size, size)


def some(examples: Example, start: jax.Array, size: int) -> tuple[Batch, jax.Array]:
    """Get `size` examples from `start` on, and which of them exist: (batch, (size,) bool)."""
    index = start + jnp.arange(size, dtype=jnp.int32)
    count = jax.tree.leaves(examples)[0].shape[0]
    batch = Batch(jax.tree.map(lambda leaf: leaf[index % count], examples), None)
    return batch, index < count


class ResidentData:
    """A dataset in memory, ready to be put on the devices."""

    def __init__(self, dataset: Dataset, train_hash: "Hashing | None" = None):
        self.dataset = dataset
        # Shared with `validation`, which has the same training set.
        self._train_hash = train_hash or cache(lambda: _hashed(sha256(), 0, dataset.train))
        example = spec_of(dataset.train)
        self.about = About(
            example, dataset.num_classes, dataset.class_names, dataset.train, dataset.test
        )
        train, test = (len(jax.tree.leaves(split)[0]) for split in (dataset.train, dataset.test))
        self.inputs = ResidentInputs(train, test, example)

    covered = "all examples"

    def validation(self) -> "ResidentData | None":
        """Return the data with the validation set in place of the test set, if there is one."""
        held_out = self.dataset.validation
        if held_out is None:
            return None
        dataset = self.dataset._replace(test=held_out, validation=None)
        return ResidentData(dataset, self._train_hash)

    def digest(self) -> str:
        """Hash all examples of the training set and of the test set (SHA-256)."""
        return _hashed(self._train_hash().copy(), 1, self.dataset.test).hexdigest()

    def feed(self, mesh: Mesh, seed: int, *_: object) -> "ResidentFeed":
        """Put the training set on the devices; its feed can start at any update."""
        sharding = meshes.replicated(mesh)
        return ResidentFeed(jax.device_put(self.dataset.train, sharding), seed, sharding)

    def test(self, mesh: Mesh, size: int) -> "ResidentTest":
        """Put the test set on the devices, for passes of `size` examples per device."""
        placed = jax.device_put(self.dataset.test, meshes.replicated(mesh))
        return ResidentTest(placed, range(0, self.inputs.num_test, size * mesh.size))


def _hashed(hashed: "Hash", number: int, split: Example) -> "Hash":
    """Add a split to a hash, the first or the second one, and return it."""
    for path, array in jax.tree_util.tree_flatten_with_path(split)[0]:
        name = f"[{number}]{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        hashed.update(name.encode())
        hashed.update(np.ascontiguousarray(array).data.cast("B"))
    return hashed


class ResidentFeed:
    """Supplies the compiled step's arguments: data, the epoch's order, seed and position."""

    most_in_flight = MOST_IN_FLIGHT
    waited = 0.0
    damaged: tuple[str, ...] = ()

    def __init__(self, train: Example, seed: int, sharding: jax.sharding.Sharding):
        self._count = jax.tree.leaves(train)[0].shape[0]
        self._train = train
        self._seed = jax.device_put(np.uint32(seed), sharding)
        self._pool = ThreadPoolExecutor(1, "order")
        # The order of the next epoch is sorted in advance: sorting takes longer than an update.
        self._sorting = lru_cache(2)(
            lambda epoch: self._pool.submit(epoch_order, seed, epoch, self._count)
        )

        @lru_cache(1)
        def order(epoch: int) -> jax.Array:
            found = self._sorting(epoch).result()
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
        found = self._train, self._order(epoch), self._seed, where
        # From the middle of an epoch on: its first update may be a phase's first, slow anyway.
        if place + MOST_IN_FLIGHT * layout.size > self._count // 2:
            self._sorting(epoch + 1)
        point("pass", (layout, found))  # devices compute their own places from the layout
        return found

    def follow(self, plan: object, update: int) -> None:
        """Do nothing: it can supply any pass."""

    def close(self) -> None:
        """End the thread. The arrays are freed with their last use."""
        self._pool.shutdown(cancel_futures=True)


class ResidentTest:
    """Supplies an evaluation's arguments: data and position."""

    most_in_flight = MOST_IN_FLIGHT
    damaged: tuple[str, ...] = ()

    def __init__(self, test: Example, starts: range):
        self._test, self._starts = test, starts

    def passes(self) -> Iterator[Arguments]:
        """Yield the arguments of each pass of one evaluation."""
        return ((self._test, np.int32(start)) for start in self._starts)

    def close(self) -> None:
        """Do nothing: it has no workers."""
