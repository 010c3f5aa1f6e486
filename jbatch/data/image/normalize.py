"""Normalizing input images on the device."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import jax
    from jax.typing import ArrayLike

Normalize = Literal["standardize", "min-max", "per-image", "logarithm", "none"]
"""How pixel values are normalized before the network sees them.

standardize: each channel (the last axis) has mean 0 and standard deviation 1 over the training set.
min-max: each channel goes from 0 to 1 over the training set.
per-image: each image has mean 0 and standard deviation 1 over its own pixels and channels.
logarithm: log(1 + value) / log 256, from 0 to 1; it spreads dark values and compresses bright ones.
none: the values as they are, 0 to 255.
"""


def affine(
    normalize: Normalize, images: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute what to subtract from each channel, and what to multiply it by afterwards.

    Args:
        normalize: the normalization.
        images: (N, …, C), the training set; any real dtype.

    Returns:
        The shift and the factor, each (C,) float32.
    """
    channels = images.shape[-1]
    match normalize:
        case "standardize":
            shift, spread = _moments(images)
        case "min-max":
            axes = tuple(range(images.ndim - 1))
            shift = images.min(axes).astype(np.float64)
            spread = images.max(axes) - shift
        case "per-image":
            highest = 255 if images.dtype == np.uint8 else np.abs(images).max()
            shift, spread = np.zeros(channels), np.full(channels, highest, np.float64)
        case "logarithm" | "none":
            shift, spread = np.zeros(channels), np.ones(channels)
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
    """Normalize images for the network, (B, …, C) → float32.

    For per-image, the deviation is at least 1/√(values in an image), so that a blank image stays
    finite.
    """
    import jax.numpy as jnp  # here, so that reading an experiment file does not import JAX

    x = (images.astype(jnp.float32) - shift) * factor
    if normalize == "logarithm":
        return jnp.log1p(x) * np.float32(1 / np.log(256))
    if normalize != "per-image":
        return x
    axes = tuple(range(1, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    deviation = jnp.sqrt(jnp.square(x).mean(axes, keepdims=True))
    return x / jnp.maximum(deviation, x[0].size ** -0.5)


def _moments(
    images: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute (mean, standard deviation) of each channel, without a float copy of the dataset."""
    if images.dtype == np.uint8:  # exact
        values, counts = np.arange(256), _counts(images)
        weights = counts / counts[0].sum()  # (C, 256)
        mean = weights @ values
        return mean, np.sqrt((weights * (values - mean[:, None]) ** 2).sum(1))
    axes, count = tuple(range(images.ndim - 1)), images[..., 0].size
    mean = images.sum(axes, dtype=np.float64) / count
    squares = sum(np.square(image - mean).sum(axes[:-1]) for image in images)
    return mean, np.sqrt(squares / count)


def _counts(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Count how often each value occurs, (C, 256); exact, without a float copy of the dataset."""
    channels = np.moveaxis(images, -1, 0)
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
