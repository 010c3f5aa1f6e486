"""Normalization of input images, on the device."""

from typing import Literal

import numpy as np

Normalize = Literal["standardize", "min-max", "per-image", "logarithm", "none"]
"""What a network sees of an image's values.

standardize: per channel, mean 0 and deviation 1 over the training set.
min-max: per channel, the training set's values from 0 to 1.
per-image: mean 0 and deviation 1 over each image's own pixels and channels.
logarithm: log(1 + value) / log 256, from 0 to 1: dark values are spread, bright ones pressed.
none: the values themselves, 0 to 255.
"""


def affine(normalize: Normalize, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to subtract per channel, and then to multiply by.

    Args:
        normalize: which normalization.
        images: (N, H, W, C) uint8, of the training set.

    Returns:
        Two float32 arrays of shape (C,).
    """
    values = np.arange(256)
    match normalize:
        case "standardize":
            counts = _counts(images)
            weights = counts / counts[0].sum()  # (C, 256)
            shift = weights @ values
            spread = np.sqrt((weights * (values - shift[:, None]) ** 2).sum(1))
        case "min-max":
            there = _counts(images) > 0
            shift = there.argmax(1)
            spread = 255 - there[:, ::-1].argmax(1) - shift
        case "per-image":
            shift, spread = np.zeros(images.shape[-1]), np.full(images.shape[-1], 255)
        case "logarithm" | "none":
            shift, spread = np.zeros(images.shape[-1]), np.ones(images.shape[-1])
    factor = 1 / np.where(spread > 0, spread, 1)
    return shift.astype(np.float32), factor.astype(np.float32)


def affine_of(
    normalize: Normalize, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The same for a set of which mean and deviation are told and every value is taken."""
    if normalize == "standardize":
        return np.array(mean, np.float32), 1 / np.array(deviation, np.float32)
    factor = 1 if normalize in ("logarithm", "none") else 1 / 255
    return np.zeros(len(mean), np.float32), np.full(len(mean), factor, np.float32)


def normalized(normalize: Normalize, images, shift, factor):
    """Images as a network sees them: (B, H, W, C) uint8 → float32.

    Per image, a deviation under 1/√(values of an image) counts as that, so that a blank image stays
    finite.
    """
    import jax.numpy as jnp  # an experiment file is read without it

    x = (images.astype(jnp.float32) - shift) * factor
    if normalize == "logarithm":
        return jnp.log1p(x) * np.float32(1 / np.log(256))
    if normalize != "per-image":
        return x
    axes = (1, 2, 3)
    x = x - x.mean(axes, keepdims=True)
    deviation = jnp.sqrt(jnp.square(x).mean(axes, keepdims=True))
    return x / jnp.maximum(deviation, x[0].size ** -0.5)


def _counts(images: np.ndarray) -> np.ndarray:
    """(C, 256) how often each value is there: exact, and without a float copy of the set."""
    channels = np.moveaxis(images, -1, 0)
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
