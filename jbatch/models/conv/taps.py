"""A convolution of few input channels, as images have: one loop that adds up its few terms."""

from itertools import product

import jax
import jax.numpy as jnp

from jbatch.models.conv.geometry import Geometry


def convolved(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H, W, C), (kh, kw, C, K) → (N, H', W', K).

    XLA fuses the kh · kw · C terms into one loop over the output, vectorized over K. The sum is
    float32 and rounded once to the dtype of `x`.
    """
    (down, along), (rows, columns) = geometry.stride, geometry.output
    image = jnp.pad(x.astype(jnp.float32), ((0, 0), *geometry.padding, (0, 0)))
    weights = kernel.astype(jnp.float32)
    total = jnp.zeros((*image.shape[:1], rows, columns, kernel.shape[3]), jnp.float32)
    for i, j, channel in product(*map(range, kernel.shape[:3])):
        bottom, right = i + down * (rows - 1) + 1, j + along * (columns - 1) + 1
        seen = image[:, i:bottom:down, j:right:along, channel : channel + 1]
        total += seen * weights[i, j, channel]
    return total.astype(x.dtype)
