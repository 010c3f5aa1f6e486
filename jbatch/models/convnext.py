"""ConvNeXt (Liu et al., arXiv 2201.03545)."""

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.errors import Mistake
from jbatch.models.conv.conv import conv
from jbatch.models.gelu import gelu
from jbatch.models.layers import Dropout
from jbatch.models.norm import ChannelNormLayer, Pass
from jbatch.models.specs import ConvNeXt
from jbatch.models.vit import EPSILON, NORMAL, linear

DEPTHWISE = 7  # pixels


class ConvNeXtNetwork(nnx.Module):
    """A stem on patches, stages of blocks with halvings between them, a mean, norm and head."""

    def __init__(
        self, net: ConvNeXt, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        height, width, channels = input_shape
        least = net.patch << (len(net.widths) - 1)
        if min(height, width) < least:
            raise Mistake(
                f"{height}×{width} pixels are too small for {len(net.widths)} stages: give images "
                f"of {least}×{least} or more, fewer stages, or a smaller patch"
            )
        total, number = sum(net.blocks), 0
        layers: list[Patches | Block] = []
        for stage, (count, fan_out) in enumerate(zip(net.blocks, net.widths, strict=True)):
            stem = stage == 0
            layers.append(Patches(channels, fan_out, net.patch if stem else 2, stem, rngs))
            for _ in range(count):
                depth = net.stochastic_depth * number / max(total - 1, 1)
                layers.append(Block(fan_out, net.layer_scale, depth, number, rngs))
                number += 1
            channels = fan_out
        self.layers = nnx.List(layers)
        self.norm = ChannelNormLayer(EPSILON, channels)
        self.head = linear(channels, num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = images
        for layer in self.layers:
            x = layer(x, training)
        return self.head(self.norm(x.mean((1, 2))))


class Filters(nnx.Module):
    """A convolution with a bias."""

    def __init__(self, shape: tuple[int, int, int, int], rngs: nnx.Rngs):
        self.kernel = nnx.Param(NORMAL(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(shape[-1:], jnp.float32))

    def __call__(self, x: jax.Array, stride: int, padding: str, groups: int = 1) -> jax.Array:
        """(B, H, W, C) → (B, H', W', K)."""
        kernel = self.kernel[...].astype(x.dtype)
        y = conv(x, kernel, stride, padding, feature_group_count=groups)
        return y + self.bias[...].astype(x.dtype)


class Patches(nnx.Module):
    """A convolution of patches that do not overlap, with the norm after it, or before it."""

    def __init__(self, fan_in: int, fan_out: int, size: int, stem: bool, rngs: nnx.Rngs):
        self.size, self.stem = size, stem
        self.conv = Filters((size, size, fan_in, fan_out), rngs)
        self.norm = ChannelNormLayer(EPSILON, fan_out if stem else fan_in)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H/size, W/size, fan_out)."""
        del training
        if self.stem:
            return self.norm(self.conv(x, self.size, "VALID"))
        return self.conv(self.norm(x), self.size, "VALID")


class Block(nnx.Module):
    """7×7 depthwise convolution, norm, 4 times as wide, GELU, back, scaled, added to the input."""

    def __init__(self, width: int, layer_scale: float, depth: float, number: int, rngs: nnx.Rngs):
        self.conv = Filters((DEPTHWISE, DEPTHWISE, 1, width), rngs)
        self.norm = ChannelNormLayer(EPSILON, width)
        self.wide, self.narrow = linear(width, 4 * width, rngs), linear(4 * width, width, rngs)
        self.scale = nnx.Param(jnp.full((width,), layer_scale, jnp.float32))
        self.depth = Dropout(depth, number, whole=True)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, width) → (B, H, W, width)."""
        y = self.norm(self.conv(x, 1, "SAME", x.shape[-1]))
        y = self.narrow(gelu(self.wide(y)))
        return x + self.depth(y * self.scale[...].astype(y.dtype), training)
