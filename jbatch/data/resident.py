"""Sets small enough to live on every device, as uint8, indexed and augmented there."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.data.augment import Augment, augment, example_keys
from jbatch.data.normalize import Normalize, normalized
from jbatch.data.order import epoch_order
from jbatch.layout import AXIS, Layout


class Resident(NamedTuple):
    """A split on the devices, the same on each."""

    images: jax.Array  # (N, H, W, C) uint8
    labels: jax.Array  # (N,) int32
    shift: jax.Array  # (C,) float32, of `normalize.affine`
    factor: jax.Array  # (C,) float32


class Batch(NamedTuple):
    """What a network sees."""

    images: jax.Array  # (B, H, W, C) float32, normalized
    labels: jax.Array  # (B,) int32
    keys: jax.Array | None  # (B,) a random key of each example; None in evaluation


def training_batch(
    resident: Resident,
    order: jax.Array,
    seed: jax.Array,
    epoch: jax.Array,
    places: jax.Array,
    augmentation: Augment,
    normalization: Normalize,
) -> Batch:
    """The examples at `places` of an epoch.

    Args:
        resident: the training set.
        order: (N,) int32, the epoch's permutation.
        seed: uint32 scalar, of the augmentation.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.
        augmentation: how the images change.
        normalization: what the network then sees of them.
    """
    index = order[places]
    keys = example_keys(seed, epoch, places)
    images = augment(augmentation, resident.images[index], keys)
    images = normalized(normalization, images, resident.shift, resident.factor)
    return Batch(images, resident.labels[index], keys)


def evaluation_batch(
    resident: Resident, start: jax.Array, size: int, normalization: Normalize
) -> tuple[Batch, jax.Array]:
    """`size` examples from `start` on, and which of them exist: (batch, (size,) bool)."""
    index = start + jnp.arange(size, dtype=jnp.int32)
    count = resident.labels.shape[0]
    within = jnp.minimum(index, count - 1)
    images = normalized(normalization, resident.images[within], resident.shift, resident.factor)
    return Batch(images, resident.labels[within], None), index < count


@dataclass(frozen=True)
class ResidentInputs:
    """The part of a compiled step that takes its examples from resident data; hashable."""

    num_examples: int
    input_shape: tuple[int, ...]  # (H, W, C)
    augment: Augment
    normalize: Normalize

    per_device = (False, False, False, False)  # none of the arguments differs by device

    def shapes(self) -> tuple:
        """Shapes and dtypes of the arguments that `ResidentFeed` gives."""
        return (
            resident_shapes(self.num_examples, self.input_shape),
            jax.ShapeDtypeStruct((self.num_examples,), np.int32),
            jax.ShapeDtypeStruct((), np.uint32),
            jax.ShapeDtypeStruct((2,), np.uint32),
        )

    def batch(self, layout: Layout, resident: Resident, order, seed, where) -> Batch:
        """This device's examples of a pass, in the order of `layout.places`."""
        epoch, first = where
        places = first + layout.places(jax.lax.axis_index(AXIS)).astype(jnp.uint32)
        return training_batch(resident, order, seed, epoch, places, self.augment, self.normalize)


class ResidentFeed:
    """Gives the compiled step its arguments: data, the epoch's order, seed and where to read."""

    def __init__(self, resident: Resident, seed: int, sharding: jax.sharding.Sharding):
        self._count = resident.labels.shape[0]
        self._resident = resident
        self._seed = jax.device_put(np.uint32(seed), sharding)
        self._order = lru_cache(1)(
            lambda epoch: jax.device_put(epoch_order(seed, epoch, self._count), sharding)
        )

    def arguments(self, position: int, layout: Layout) -> tuple:
        """Of the pass from `position` on, all of one epoch, in the shapes of `ResidentInputs`."""
        del layout  # the devices compute which places are theirs
        epoch, place = divmod(position, self._count)
        where = np.array((epoch, place), np.uint32)  # one transfer
        return self._resident, self._order(epoch), self._seed, where


def resident_shapes(num_examples: int, input_shape: tuple[int, ...]) -> Resident:
    """Shapes and dtypes of a split on the devices."""
    return Resident(
        images=jax.ShapeDtypeStruct((num_examples, *input_shape), np.uint8),
        labels=jax.ShapeDtypeStruct((num_examples,), np.int32),
        shift=jax.ShapeDtypeStruct(input_shape[-1:], np.float32),
        factor=jax.ShapeDtypeStruct(input_shape[-1:], np.float32),
    )
