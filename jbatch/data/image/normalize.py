"""Normalizing input images on the device."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import jax
    from jax.typing import ArrayLike

Normalize = Literal["standardize", "min-max", "per-image", "logarithm", "none"]
"""How pixel values are normalized before the network sees them.

standardize: each channel has mean 0 and standard deviation 1 over the training set.
min-max: each channel goes from 0 to 1 over the training set.
per-image: each image has mean 0 and standard deviation 1 over its own pixels and channels.
logarithm: log(1 + value) / log 256, from 0 to 1; it spreads dark values and compresses bright ones.
none: the values as they are, 0 to 255.
"""


def affine(
    normalize: Normalize, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute what to subtract from each channel, and what to multiply it by afterwards.

    Args:
        normalize: the normalization.
        images: (N, H, W, C) uint8, the training set.

    Returns:
        The shift and the factor, each (C,) float32.
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
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Do the same from a given mean and deviation; values are assumed to span 0 to 255."""
    if normalize == "standardize":
        return np.array(mean, np.float32), np.float32(1) / np.array(deviation, np.float32)
    factor = 1 if normalize in ("logarithm", "none") else 1 / 255
    return np.zeros(len(mean), np.float32), np.full(len(mean), factor, np.float32)


def normalized(
    normalize: Normalize, images: "jax.Array", shift: "ArrayLike", factor: "ArrayLike"
) -> "jax.Array":
    """Normalize images for the network, (B, H, W, C) uint8 → float32.

    For per-image, the deviation is at least 1/√(values in an image), so that a blank image stays
    finite.
    """
    import jax.numpy as jnp  # here, so that reading an experiment file does not import JAX

    x = (images.astype(jnp.float32) - shift) * factor
    if normalize == "logarithm":
        return jnp.log1p(x) * np.float32(1 / np.log(256))
    if normalize != "per-image":
        return x
    axes = (1, 2, 3)
    x = x - x.mean(axes, keepdims=True)
    deviation = jnp.sqrt(jnp.square(x).mean(axes, keepdims=True))
    return x / jnp.maximum(deviation, x[0].size ** -0.5)


def _counts(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Count how often each value occurs, (C, 256); exact, without a float copy of the dataset."""
    channels = np.moveaxis(images, -1, 0)
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
