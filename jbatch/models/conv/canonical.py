"""Gradients as convolutions of the one form that XLA's CPU compiler computes well.

The compiler brings other forms into it by copies, but not in the body of a loop: there a gradient
would take 15 times as long (jax 0.10.1). So we make the copies ourselves.
"""

import jax
from jax import lax

from jbatch.models.conv.geometry import NHWC, Geometry, Pair


def input_gradient(g: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H', W', K), (kh, kw, C, K) → (N, H, W, C)."""
    # The kernel turned round, its channels exchanged, over the gradient with zeros in between.
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    before = [
        size - 1 - first for size, (first, _) in zip(geometry.size, geometry.padding, strict=True)
    ]
    padding = _padding(geometry.image, _dilated(geometry), geometry.size, before)
    return lax.conv_general_dilated(
        g, turned, (1, 1), padding, lhs_dilation=geometry.stride, dimension_numbers=NHWC
    )


def kernel_gradient(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H, W, C), (N, H', W', K) → (kh, kw, C, K)."""
    # Each channel is an image of its own, whose channels are the examples.
    before = [first for first, _ in geometry.padding]
    padding = _padding(geometry.size, geometry.image, _dilated(geometry), before)
    found: jax.Array = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        (1, 1),
        padding,
        rhs_dilation=geometry.stride,
        dimension_numbers=NHWC,
    )
    return found.transpose(1, 2, 0, 3)


def _dilated(geometry: Geometry) -> Pair:
    """Return the size of the output with zeros between its pixels, as many as the stride skips."""
    rows, columns = (
        (length - 1) * stride + 1
        for length, stride in zip(geometry.output, geometry.stride, strict=True)
    )
    return rows, columns


def _padding(output: Pair, image: Pair, window: Pair, before: list[int]) -> list[Pair]:
    """Return the edges with which a convolution of stride 1 has this output."""
    return [
        (first, length + size - 1 - given - first)
        for length, given, size, first in zip(output, image, window, before, strict=True)
    ]
