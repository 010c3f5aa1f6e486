"""Gradients by kernels as plain products, for any stride.

Products are float32, whatever the dtype of the arrays.
"""

import jax
import jax.numpy as jnp

from jbatch.models.conv import chunks
from jbatch.models.conv.geometry import Geometry
from jbatch.models.dense import across


def kernel_gradient(x: jax.Array, g: jax.Array, geometry: Geometry, examples: int) -> jax.Array:
    """Return the gradient by the kernel: (N, H, W, C), (N, H', W', K) → (kh, kw, C, K).

    For each row of the kernel it is gᵀ times the views of x that this row sees.

    Args:
        x: the convolution's input, float32, bfloat16 or float16.
        g: the gradient by its output, of the dtype of `x`.
        geometry: of the convolution.
        examples: of a chunk, at most.
    """
    (down, along), (height, width), fan_in = geometry.stride, geometry.size, x.shape[3]
    rows, columns = geometry.output

    def chunk(x: jax.Array, g: jax.Array) -> list[jax.Array]:
        sent = g.astype(jnp.float32).reshape(-1, g.shape[3]).T  # (K, n · H' · W')
        x = jnp.pad(x.astype(jnp.float32), ((0, 0), *geometry.padding, (0, 0)))
        seen = [x[:, :, i : i + along * (columns - 1) + 1 : along] for i in range(width)]
        by_row = jax.lax.optimization_barrier(jnp.concatenate(seen, 3))  # (n, H, W', kw · C)
        return [
            sent @ by_row[:, i : i + down * (rows - 1) + 1 : down].reshape(-1, width * fan_in)
            for i in range(height)
        ]

    sums = jnp.stack(chunks.summed(chunk, x, g, examples))  # (kh, K, kw · C)
    split = sums.reshape(height, g.shape[3], width, fan_in)
    return split.transpose(0, 2, 3, 1).astype(x.dtype)


def pointwise_kernel_gradient(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Return the same for 1×1 kernels without padding, as one product of whole arrays."""
    down, along = geometry.stride
    seen = x[:, ::down, ::along].astype(jnp.float32).reshape(-1, x.shape[3])
    sent = g.astype(jnp.float32).reshape(-1, g.shape[3])
    return across(seen, sent)[None, None].astype(x.dtype)
