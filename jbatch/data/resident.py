"""Sets small enough to live on every device, as uint8, indexed and augmented there."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.data.augment import Augment, augment
from jbatch.data.sources import Split


class Resident(NamedTuple):
    """A split on the devices, the same on each."""

    images: jax.Array  # (N, H, W, C) uint8
    labels: jax.Array  # (N,) int32
    mean: jax.Array  # (C,) float32, of the training set
    scale: jax.Array  # (C,) float32, 1 over its standard deviation


class Batch(NamedTuple):
    """What a network sees."""

    images: jax.Array  # (B, H, W, C) float32, standardized per channel
    labels: jax.Array  # (B,) int32


def standardization(train: Split) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1/deviation per channel of a training set, float32 (C,) each."""
    counts = [  # of each value: exact, and without a float copy of the set
        np.bincount(train.images[..., channel].ravel(), minlength=256)
        for channel in range(train.images.shape[-1])
    ]
    weights = np.stack(counts) / counts[0].sum()  # (C, 256)
    values = np.arange(256)
    mean = weights @ values
    deviation = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(1))
    return mean.astype(np.float32), (1 / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def training_batch(
    resident: Resident,
    order: jax.Array,
    seed: jax.Array,
    epoch: jax.Array,
    places: jax.Array,
    augmentation: Augment,
) -> Batch:
    """The examples at `places` of an epoch.

    Args:
        resident: the training set.
        order: (N,) int32, the epoch's permutation.
        seed: uint32 scalar, of the augmentation.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.
        augmentation: how the images change.
    """
    index = order[places]
    images = augment(augmentation, resident.images[index], seed, epoch, places)
    return Batch(_standardized(images, resident), resident.labels[index])


def evaluation_batch(resident: Resident, start: jax.Array, size: int) -> tuple[Batch, jax.Array]:
    """`size` examples from `start` on, and which of them exist: (batch, (size,) bool)."""
    index = start + jnp.arange(size, dtype=jnp.int32)
    count = resident.labels.shape[0]
    within = jnp.minimum(index, count - 1)
    batch = Batch(_standardized(resident.images[within], resident), resident.labels[within])
    return batch, index < count


def _standardized(images: jax.Array, resident: Resident) -> jax.Array:
    return (images.astype(jnp.float32) - resident.mean) * resident.scale
