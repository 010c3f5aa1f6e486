"""3×3 convolutions of stride 1 by Winograd's method (Lavin and Gray, arXiv 1509.09308).

F(2×2, 3×3): a tile of 2×2 outputs takes 16 products of each input and output channel instead of 36.
Its transforms only add and halve, so it rounds as a direct convolution does: 3 to 8e-7 of the
result's root mean square in float32. Larger tiles take fewer products, but round far worse.

In one dimension, with input d (4), kernel k (3) and outputs y (2), y = Aᵀ[(G k) ⊙ (Bᵀ d)]. In two
dimensions each transform is done over rows and then over columns. A gradient by the kernel is the
same formula transposed: Gᵀ[(A g) ⊙ (Bᵀ d)]. Products have the 16 places of a tile as their batch,
so all transforms of a chunk are four loops over arrays, which also compile fast.

Transforms and products are float32, whatever the dtype of the arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.models.conv import chunks
from jbatch.models.conv.geometry import Pair

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_KERNEL = np.einsum("ai,bj->abij", _G, _G).reshape(16, 9)  # both dimensions at once


def convolved(
    x: jax.Array, kernel: jax.Array, padding: tuple[Pair, Pair], examples: int
) -> jax.Array:
    """Convolve: (N, H, W, C), (3, 3, C, K) → (N, H', W', K).

    Args:
        x: float32, bfloat16 or float16.
        kernel: of the dtype of `x`.
        padding: zeros before and after, of rows and of columns.
        examples: of a chunk, at most.
    """
    output = _outputs(x, padding)
    (rows, columns), fan_out = _tiles(output), kernel.shape[3]
    places = (_KERNEL @ kernel.astype(jnp.float32).reshape(9, -1)).reshape(16, *kernel.shape[2:])

    def chunk(x: jax.Array) -> jax.Array:
        made = _multiplied(_inputs(x, padding), places)  # (16, n · tiles, K)
        tiles = made.reshape(4, 4, -1, rows, columns, fan_out)
        over_columns = _outputs_of([tiles[:, place] for place in range(4)])
        both = [_outputs_of([half[place] for place in range(4)]) for half in over_columns]
        by_row = [jnp.stack([half[row] for half in both], 3) for row in range(2)]
        y = jnp.stack(by_row, 2).reshape(-1, 2 * rows, 2 * columns, fan_out)
        return y[:, : output[0], : output[1]].astype(x.dtype)

    return chunks.mapped(chunk, x, examples)


def kernel_gradient(
    x: jax.Array, g: jax.Array, padding: tuple[Pair, Pair], examples: int
) -> jax.Array:
    """Return the gradient by the kernel: (N, H, W, C), (N, H', W', K) → (3, 3, C, K).

    Args:
        x: the convolution's input, float32, bfloat16 or float16.
        g: the gradient by its output, of the dtype of `x`.
        padding: zeros before and after, of rows and of columns.
        examples: of a chunk, at most.
    """

    def chunk(x: jax.Array, g: jax.Array) -> list[jax.Array]:
        # A product is slow if its first operand must be read across rows: transpose it apart, as an
        # operation of its own, which XLA does by blocks.
        here = jax.lax.optimization_barrier(_gradients(g))
        across = jax.lax.optimization_barrier(here.transpose(0, 2, 1))  # (16, K, n · tiles)
        return [_multiplied(across, _inputs(x, padding))]

    [sums] = chunks.summed(chunk, x, g, examples)  # (16, K, C)
    kernel: jax.Array = (_KERNEL.T @ sums.reshape(16, -1)).reshape(3, 3, *sums.shape[1:])
    return kernel.transpose(0, 1, 3, 2).astype(x.dtype)


def _multiplied(a: jax.Array, b: jax.Array) -> jax.Array:
    """(16, I, J), (16, J, L) → (16, I, L)."""
    return jax.lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))))


def _outputs(x: jax.Array, padding: tuple[Pair, Pair]) -> Pair:
    rows, columns = (n + sum(edges) - 2 for n, edges in zip(x.shape[1:3], padding, strict=True))
    return rows, columns


def _tiles(output: Pair) -> Pair:
    return -(-output[0] // 2), -(-output[1] // 2)


def _inputs(x: jax.Array, padding: tuple[Pair, Pair]) -> jax.Array:
    """Bᵀ d B of each overlapping tile of 4×4: (n, H, W, C) → (16, n · tiles, C) float32."""
    output = _outputs(x, padding)
    rows, columns = _tiles(output)
    (top, bottom), (left, right) = padding
    more = (bottom + 2 * rows - output[0], right + 2 * columns - output[1])  # odd: half a tile
    x = jnp.pad(x.astype(jnp.float32), ((0, 0), (top, more[0]), (left, more[1]), (0, 0)))
    by_row = jnp.stack(_inputs_of([x[:, i : i + 2 * rows : 2] for i in range(4)]))
    by_row = jax.lax.optimization_barrier(by_row)  # (4, n, tiles, W, C), made once
    both = jnp.stack(_inputs_of([by_row[:, :, :, i : i + 2 * columns : 2] for i in range(4)]), 1)
    return both.reshape(16, -1, x.shape[3])


def _gradients(g: jax.Array) -> jax.Array:
    """A g Aᵀ of each tile of 2×2: (n, H', W', K) → (16, n · tiles, K) float32."""
    odd = g.shape[1] % 2, g.shape[2] % 2
    g = jnp.pad(g.astype(jnp.float32), ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)))
    by_row = jnp.stack(_gradients_of([g[:, i::2] for i in range(2)]))
    by_row = jax.lax.optimization_barrier(by_row)
    both = jnp.stack(_gradients_of([by_row[:, :, :, i::2] for i in range(2)]), 1)
    return both.reshape(16, -1, g.shape[3])


def _inputs_of(d: list[jax.Array]) -> list[jax.Array]:
    """Bᵀ d in one dimension, 4 → 4."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _outputs_of(m: list[jax.Array]) -> list[jax.Array]:
    """Aᵀ m in one dimension, 4 → 2."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _gradients_of(g: list[jax.Array]) -> list[jax.Array]:
    """A g in one dimension, 2 → 4."""
    return [g[0], g[0] + g[1], g[0] - g[1], -g[1]]
