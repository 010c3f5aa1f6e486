"""The network of Jordan's fast recipe for CIFAR-10 (arXiv 2404.00498)."""

import itertools
from functools import reduce

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.errors import Mistake
from jbatch.models.conv.conv import conv
from jbatch.models.gelu import gelu
from jbatch.models.layers import Conv, flat, partial_identity
from jbatch.models.norm import Pass, norm_layer
from jbatch.models.specs import Airbench, Norm

PATCH = 2  # pixels that the first convolution sees, in height and width
LAST = 3  # the last pool's window
LOGITS = 1 / 9  # a factor on them
# Uniform within ±1/√fan_in, which is PyTorch's default.
UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
WHITEN = "whiten"  # the first convolution's name


class AirbenchNetwork(nnx.Module):
    """A whitening convolution, GELU, blocks that each halve the image, a pool, a linear head."""

    def __init__(
        self, net: Airbench, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        height, width, channels = input_shape
        halvings = len(net.widths)
        rows, columns = ((side - PATCH + 1) >> halvings for side in (height, width))
        if min(rows, columns) < LAST:
            least = (LAST << halvings) + PATCH - 1
            raise Mistake(
                f"{height}×{width} pixels are too small for Airbench with {halvings} blocks: give "
                f"images of {least}×{least} or more, or fewer widths"
            )
        self.whiten = Whiten(channels, rngs)
        widths = itertools.pairwise((2 * PATCH * PATCH * channels, *net.widths))
        self.blocks = nnx.List(Block(net.norm, *each, rngs) for each in widths)
        self.head = Head((rows // LAST) * (columns // LAST) * net.widths[-1], num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = gelu(self.whiten(images))
        for block in self.blocks:
            x = block(x, training)
        return self.head(flat(pooled(x, LAST))) * LOGITS


class Whiten(nnx.Module):
    """A convolution without padding, whose kernel the task computes from training images.

    No gradient reaches the kernel, and the task names it as frozen.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        shape = (PATCH, PATCH, channels, 2 * PATCH * PATCH * channels)
        self.kernel = nnx.Param(UNIFORM(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(shape[-1:], jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) → (B, H − 1, W − 1, 8C)."""
        kernel = jax.lax.stop_gradient(self.kernel[...]).astype(x.dtype)
        return conv(x, kernel, 1, "VALID") + self.bias[...].astype(x.dtype)


class Block(nnx.Module):
    """3×3 convolution, 2×2 pool, norm, GELU, 3×3 convolution, norm, GELU."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, rngs: nnx.Rngs):
        init = partial_identity(UNIFORM)
        self.conv1 = Conv(norm, fan_in, fan_out, 3, init=init, rngs=rngs)
        self.norm1 = norm_layer(norm, fan_out)
        self.conv2 = Conv(norm, fan_out, fan_out, 3, init=init, rngs=rngs)
        self.norm2 = norm_layer(norm, fan_out)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H/2, W/2, fan_out), rounded down."""
        x = gelu(self.norm1(pooled(self.conv1(x), 2), training))
        return gelu(self.norm2(self.conv2(x), training))


class Head(nnx.Module):
    """A linear layer without bias."""

    def __init__(self, fan_in: int, fan_out: int, rngs: nnx.Rngs):
        self.kernel = nnx.Param(UNIFORM(rngs.params(), (fan_in, fan_out), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, fan_in) → (B, fan_out)."""
        return x @ self.kernel[...].astype(x.dtype)


def pooled(x: jax.Array, size: int) -> jax.Array:
    """Take the maximum of windows that do not overlap; a remainder at the edge is left out.

    As maxima of strided slices, whose gradient is fast everywhere. Of equal values each gets a part
    of the gradient; after a convolution there are none.
    """
    height, width = (side // size * size for side in x.shape[1:3])
    parts = [
        x[:, row:height:size, column:width:size] for row in range(size) for column in range(size)
    ]
    found: jax.Array = reduce(jnp.maximum, parts)
    return found
