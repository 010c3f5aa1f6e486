"""Normalization of input images, on the device: values of one field of an experiment."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Standardize:
    """Per channel to mean 0 and deviation 1 over the training set."""


@dataclass(frozen=True)
class MinMax:
    """Per channel to the range 0 to 1 of the training set's values."""


@dataclass(frozen=True)
class PerImage:
    """Each image to mean 0 and deviation 1 over its own pixels and channels."""


Normalize = Standardize | MinMax | PerImage


def affine(normalize: Normalize, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to subtract per channel, and then to multiply by.

    Args:
        normalize: which normalization.
        images: (N, H, W, C) uint8, of the training set.

    Returns:
        Two float32 arrays of shape (C,).
    """
    channels = images.shape[-1]
    values = np.arange(256)
    match normalize:
        case Standardize():
            counts = _counts(images)
            weights = counts / counts[0].sum()  # (C, 256)
            shift = weights @ values
            spread = np.sqrt((weights * (values - shift[:, None]) ** 2).sum(1))
        case MinMax():
            there = _counts(images) > 0
            shift = there.argmax(1)
            spread = 255 - there[:, ::-1].argmax(1) - shift
        case PerImage():
            shift, spread = np.zeros(channels), np.full(channels, 255)
    factor = 1 / np.where(spread > 0, spread, 1)
    return shift.astype(np.float32), factor.astype(np.float32)


def normalized(normalize: Normalize, images, shift, factor):
    """Images as a network sees them: (B, H, W, C) uint8 → float32.

    A deviation under 1/√(values of an image) counts as that, so that a blank image stays finite.
    """
    import jax.numpy as jnp  # an experiment file is read without it

    x = (images.astype(jnp.float32) - shift) * factor
    if isinstance(normalize, PerImage):
        axes = (1, 2, 3)
        x = x - x.mean(axes, keepdims=True)
        deviation = jnp.sqrt(jnp.square(x).mean(axes, keepdims=True))
        x = x / jnp.maximum(deviation, (x[0].size) ** -0.5)
    return x


def _counts(images: np.ndarray) -> np.ndarray:
    """(C, 256) how often each value is there: exact, and without a float copy of the set."""
    return np.stack(
        [
            np.bincount(images[..., channel].ravel(), minlength=256)
            for channel in range(images.shape[-1])
        ]
    )
