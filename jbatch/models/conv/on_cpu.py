"""What computes a convolution on CPUs: the choice for each shape.

Thresholds are from measurements on one core of an AMD EPYC (AVX-512) with jax 0.10.1; see
docs/convolutions.md. Where nothing here is faster, XLA's own convolution stays.
"""

import math

import jax
import jax.numpy as jnp

from jbatch.models.conv import canonical, products, stock, taps, winograd
from jbatch.models.conv.geometry import Geometry

CHUNK = 2**19  # bytes of float32 input of a chunk; with all that is made of it, it fills L2 caches
LARGEST = 2**20  # bytes of one example; above, a chunk is no longer in a cache
WIDE = 64  # channels in the sums of a product, from which transforms cost less than they save
NARROW = 16  # channels, below which views cost more than their product saves
PIXELS = 1024  # of a chunk, at least: products are as large as this for few enough additions
NARROWER = (jnp.float32, jnp.bfloat16, jnp.float16)  # dtypes that float32 holds
TAPS = 36  # terms of an output, up to which adding them up is faster if the channels are
IMAGE, UNITS = 4, 64  # at most these, in and out
MANY = 4096  # output pixels of a batch, below which XLA's own gradients are as fast


def convolved(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H, W, C), (kh, kw, C, K) → (N, H', W', K)."""
    if _few(kernel) and x.dtype in NARROWER and min(geometry.edges) >= 0 and _has_pixels(geometry):
        return taps.convolved(x, kernel, geometry)
    if not (_winograd(x, geometry) and min(kernel.shape[2:]) >= WIDE):
        return stock.convolved(x, kernel, geometry)
    with jax.default_matmul_precision(geometry.precision):
        return winograd.convolved(x, kernel, geometry.padding, _examples(x))


def input_gradient(g: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H', W', K), (kh, kw, C, K) → (N, H, W, C)."""
    with jax.default_matmul_precision(geometry.precision):
        if _winograd(g, geometry) and min(kernel.shape[2:]) >= WIDE:
            # The kernel turned round, its channels exchanged, over the image with wider edges.
            (top, bottom), (left, right) = geometry.padding
            padding = (2 - top, 2 - bottom), (2 - left, 2 - right)
            turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
            return winograd.convolved(g, turned, padding, _examples(g))
        if _has_pixels(geometry):
            return canonical.input_gradient(g, kernel, geometry)
        return stock.input_gradient(g, kernel, geometry)


def kernel_gradient(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """(N, H, W, C), (N, H', W', K) → (kh, kw, C, K)."""
    larger = max(x, g, key=_bytes)
    examples = _examples(larger)
    with jax.default_matmul_precision(geometry.precision):
        if _winograd(larger, geometry) and min(x.shape[3], g.shape[3]) >= WIDE:
            return winograd.kernel_gradient(x, g, geometry.padding, examples)
        if _products(g, x.shape[3], geometry) and geometry.size == (1, 1):
            return products.pointwise_kernel_gradient(x, g, geometry)
        if _products(g, x.shape[3], geometry) and _small(larger):
            return products.kernel_gradient(x, g, geometry, examples)
        if _has_pixels(geometry):
            return canonical.kernel_gradient(x, g, geometry)
        return stock.kernel_gradient(x, g, geometry)


def _has_pixels(geometry: Geometry) -> bool:
    """Return whether the output has pixels: not where the kernel is larger than the image."""
    return min(geometry.output) > 0


def _few(kernel: jax.Array) -> bool:
    """Return whether an output has few terms."""
    *_, fan_in, fan_out = kernel.shape
    return math.prod(kernel.shape[:3]) <= TAPS and fan_in <= IMAGE and fan_out <= UNITS


def _winograd(larger: jax.Array, geometry: Geometry) -> bool:
    """Return whether Winograd's method computes it; `larger` is what chunks are cut from."""
    return (
        geometry.size == (3, 3)
        and geometry.stride == (1, 1)
        and all(0 <= edge <= 2 for edge in geometry.edges)
        and _small(larger)
    )


def _products(g: jax.Array, fan_in: int, geometry: Geometry) -> bool:
    """Return whether plain products compute a gradient faster than XLA's own."""
    rows, columns = geometry.output
    edges = geometry.edges
    return (
        max(geometry.size) <= 3
        and (max(edges) == 0 if geometry.size == (1, 1) else min(edges) >= 0)
        and fan_in >= NARROW
        and g.shape[0] * rows * columns >= MANY
        and g.dtype in NARROWER
    )


def _small(x: jax.Array) -> bool:
    """Return whether an example fits a chunk, in a dtype that float32 holds."""
    return x.dtype in NARROWER and _bytes(x) <= LARGEST


def _examples(x: jax.Array) -> int:
    """Return the number of examples of a chunk."""
    pixels = x.shape[1] * x.shape[2]
    return max(CHUNK // _bytes(x), math.ceil(PIXELS / pixels))


def _bytes(x: jax.Array) -> int:
    """Return the bytes of an example in float32."""
    return 4 * math.prod(x.shape[1:])
