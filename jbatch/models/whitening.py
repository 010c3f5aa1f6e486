"""A first convolution that whitens the patches of training images."""

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 256  # images at once, whose patches take 64 MB as float64


def whitening(
    images: npt.NDArray[Any], size: int = 2, eps: float = 5e-4
) -> npt.NDArray[np.float32]:
    """Return the kernel of a convolution whose outputs are the whitened patches of images.

    Its filters are ± the eigenvectors of E[p pᵀ] over all patches p, the largest eigenvalue first,
    each divided by √(eigenvalue + eps) (Jordan, arXiv 2404.00498, section 3.2).

    Args:
        images: (N, H, W, C), normalized as the network sees them.
        size: pixels of a patch, in height and in width.
        eps: added to the eigenvalues.

    Returns:
        (size, size, C, 2 · size² · C).

    Examples:
        >>> images = np.random.default_rng(0).normal(size=(100, 8, 8, 3)).astype(np.float32)
        >>> jbatch.whitening(images).shape
        (2, 2, 3, 24)
    """
    channels = images.shape[-1]
    length = size * size * channels
    total, count = np.zeros((length, length)), 0
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(block, (size, size), (1, 2))
        patches = np.moveaxis(windows, 3, 5).reshape(-1, length)  # (row, column, channel)
        total, count = total + patches.T @ patches, count + len(patches)
    values, vectors = np.linalg.eigh(total / count)  # ascending; a vector is a column
    filters = (vectors / np.sqrt(values + eps))[:, ::-1]
    kernel = np.concatenate([filters, -filters], axis=1)
    return kernel.reshape(size, size, channels, 2 * length).astype(np.float32)
