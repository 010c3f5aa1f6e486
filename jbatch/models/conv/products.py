"""Gradients of convolutions of any stride as plain products, over chunks of a batch.

Products are float32, whatever the dtype of the arrays.
"""

import jax
import jax.numpy as jnp

from jbatch.models.conv import chunks
from jbatch.models.conv.geometry import Geometry


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
        # A product is slow if its first operand must be read across rows: transpose it apart, as an
        # operation of its own, which XLA does by blocks.
        here = jax.lax.optimization_barrier(g.astype(jnp.float32).reshape(-1, g.shape[3]))
        across = jax.lax.optimization_barrier(here.T)  # (K, n · H' · W')
        x = jnp.pad(x.astype(jnp.float32), ((0, 0), *geometry.padding, (0, 0)))
        seen = [x[:, :, i : i + along * (columns - 1) + 1 : along] for i in range(width)]
        by_row = jax.lax.optimization_barrier(jnp.concatenate(seen, 3))  # (n, H, W', kw · C)
        return [
            across @ by_row[:, i : i + down * (rows - 1) + 1 : down].reshape(-1, width * fan_in)
            for i in range(height)
        ]

    sums = jnp.stack(chunks.summed(chunk, x, g, examples))  # (kh, K, kw · C)
    split = sums.reshape(height, g.shape[3], width, fan_in)
    return split.transpose(0, 2, 3, 1).astype(x.dtype)


def input_gradient(g: jax.Array, kernel: jax.Array, geometry: Geometry, examples: int) -> jax.Array:
    """Return the gradient by the input: (N, H', W', K), (kh, kw, C, K) → (N, H, W, C).

    One product gives what each output pixel sends to each pixel that it saw, and these are added.

    Args:
        g: the gradient by the output, float32, bfloat16 or float16.
        kernel: of the dtype of `g`.
        geometry: of the convolution.
        examples: of a chunk, at most.
    """
    height, width, fan_in, fan_out = kernel.shape
    by_place = kernel.astype(jnp.float32).reshape(-1, fan_out).T  # (K, kh · kw · C)
    padded = [n + sum(edges) for n, edges in zip(geometry.image, geometry.padding, strict=True)]
    (top, _), (left, _) = geometry.padding

    def chunk(g: jax.Array) -> jax.Array:
        sent = g.astype(jnp.float32).reshape(-1, fan_out) @ by_place
        sent = jax.lax.optimization_barrier(sent).reshape(*g.shape[:3], height, width, fan_in)

        def placed(i: int, j: int) -> jax.Array:
            edges = [
                (at, length - at - (stride * (count - 1) + 1), stride - 1)
                for at, length, count, stride in zip(
                    (i, j), padded, geometry.output, geometry.stride, strict=True
                )
            ]
            return jax.lax.pad(sent[:, :, :, i, j], jnp.float32(0), ((0, 0, 0), *edges, (0, 0, 0)))

        whole = sum((placed(i, j) for i in range(height) for j in range(width)), jnp.float32(0))
        rows, columns = geometry.image
        return whole[:, top : top + rows, left : left + columns].astype(g.dtype)

    return chunks.mapped(chunk, g, examples)
