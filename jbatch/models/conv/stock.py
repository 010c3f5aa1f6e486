"""The three maps of a convolution, as XLA computes them."""

import jax
from jax import lax

from jbatch.models.conv.geometry import NHWC, Geometry


def convolved(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H, W, C), (kh, kw, C, K) → (N, H', W', K)."""
    with jax.default_matmul_precision(geometry.precision):
        return lax.conv_general_dilated(
            x,
            kernel,
            geometry.stride,
            geometry.padding,
            dimension_numbers=NHWC,
        )


def input_gradient(g: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H', W', K), (kh, kw, C, K) → (N, H, W, C)."""
    shape = (g.shape[0], *geometry.image, kernel.shape[2])
    transposed = jax.linear_transpose(
        lambda x: convolved(x, kernel, geometry), jax.ShapeDtypeStruct(shape, g.dtype)
    )
    found: jax.Array = transposed(g)[0]
    return found


def kernel_gradient(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H, W, C), (N, H', W', K) → (kh, kw, C, K)."""
    shape = (*geometry.size, x.shape[3], g.shape[3])
    transposed = jax.linear_transpose(
        lambda kernel: convolved(x, kernel, geometry), jax.ShapeDtypeStruct(shape, x.dtype)
    )
    found: jax.Array = transposed(g)[0]
    return found
