"""Inception-ResNet-V2 (Szegedy et al., arXiv 1602.07261), as in its authors' code."""

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.errors import Mistake
from jbatch.models.layers import Conv, ConvNorm, Dropout, flat, head
from jbatch.models.norm import Layer, Pass
from jbatch.models.norms import NoNorm
from jbatch.models.pool import MaxPool
from jbatch.models.specs import InceptionResNetV2, Norm

POOL = MaxPool(3, 2)
SMALLEST = 75  # pixels; in smaller images no pixel reaches the last blocks
BLOCKS = 10, 20, 10  # at 35×35, at 17×17 and at 8×8 pixels


class InceptionResNetV2Network(nnx.Module):
    """Stem, 10 blocks at 35×35, 20 at 17×17, 10 at 8×8 (of 299×299), a mean, dropout, a head."""

    def __init__(
        self,
        net: InceptionResNetV2,
        input_shape: tuple[int, ...],
        num_classes: int,
        rngs: nnx.Rngs,
    ):
        height, width, channels = input_shape
        if min(height, width) < SMALLEST:
            raise Mistake(
                f"images of {height}×{width} pixels are too small for Inception-ResNet-V2: give "
                f"{SMALLEST}×{SMALLEST} or more"
            )
        norm, (at_35, at_17, at_8) = net.norm, BLOCKS
        self.stem = Chain(
            Unit(norm, channels, 32, 3, 2, pad=False, rngs=rngs),
            Unit(norm, 32, 32, 3, pad=False, rngs=rngs),
            PooledUnit(norm, 32, 64, 3, rngs=rngs),
            Unit(norm, 64, 80, 1, rngs=rngs),
            PooledUnit(norm, 80, 192, 3, pad=False, rngs=rngs),
            mixed_5b(norm, rngs),
        )
        self.blocks_35 = nnx.List(
            ResidualBlock(norm, block_35(norm, rngs), 128, 320, 0.17, rngs) for _ in range(at_35)
        )
        self.reduction_a = reduction_a(norm, rngs)
        self.blocks_17 = nnx.List(
            ResidualBlock(norm, block_17(norm, rngs), 384, 1088, 0.1, rngs) for _ in range(at_17)
        )
        self.reduction_b = reduction_b(norm, rngs)
        self.blocks_8 = nnx.List(
            ResidualBlock(
                norm, block_8(norm, rngs), 448, 2080, 1.0 if last else 0.2, rngs, relu=not last
            )
            for last in [False] * (at_8 - 1) + [True]
        )
        self.last = Unit(norm, 2080, 1536, 1, rngs=rngs)
        self.dropout = Dropout(net.dropout)
        self.head = head(1536, num_classes, rngs)
        self.auxiliary = (
            AuxiliaryHead(norm, _at_17(height), _at_17(width), num_classes, rngs)
            if net.auxiliary_head
            else None
        )

    def __call__(
        self, images: jax.Array, training: Pass | None
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Return logits (B, classes) of images (B, H, W, C), in training of both heads."""
        x = self.stem(images, training)
        for block in self.blocks_35:
            x = block(x, training)
        x = self.reduction_a(x, training)
        for block in self.blocks_17:
            x = block(x, training)
        at_17 = x
        x = self.reduction_b(x, training)
        for block in self.blocks_8:
            x = block(x, training)
        x = self.last(x, training).mean((1, 2))
        logits = self.head(self.dropout(x, training))
        if self.auxiliary is None or training is None:
            return logits
        return logits, self.auxiliary(at_17, training)


class Unit(ConvNorm):
    """Convolution, norm, ReLU."""

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H', W', fan_out)."""
        return nnx.relu(super().__call__(x, training))


class PooledUnit(ConvNorm):
    """Convolution, norm, ReLU, max pooling of 3×3 with stride 2."""

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H', W', fan_out)."""
        return self.pooled(x, training, POOL)


class Pool(nnx.Module):
    """Max pooling of 3×3 with stride 2."""

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, C) → (B, H', W', C)."""
        return POOL(x)


class SameMean(nnx.Module):
    """Mean of each 3×3 window, counting only pixels inside the image."""

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, C) → the same shape."""
        mean: jax.Array = nnx.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
        return mean


class Chain(nnx.Module):
    """Layers one after the other."""

    def __init__(self, *layers: Layer):
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Return the last layer's output."""
        for layer in self.layers:
            x = layer(x, training)
        return x


class Branches(nnx.Module):
    """Layers side by side, with their channels concatenated."""

    def __init__(self, *layers: Layer):
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Return the concatenated outputs of all layers."""
        return jnp.concatenate([layer(x, training) for layer in self.layers], -1)


class ResidualBlock(nnx.Module):
    """x + scale · (branches, joined by a 1×1 convolution with a bias and no norm)."""

    def __init__(
        self,
        norm: Norm,
        branches: Branches,
        between: int,
        channels: int,
        scale: float,
        rngs: nnx.Rngs,
        relu: bool = True,
    ):
        self.branches = branches
        self.join = Conv(NoNorm(), between, channels, 1, rngs=rngs)
        self.scale, self.relu = scale, relu

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, channels) → the same shape."""
        x = x + self.scale * self.join(self.branches(x, training))
        return nnx.relu(x) if self.relu else x


class AuxiliaryHead(nnx.Module):
    """Logits from the 17×17 blocks: a mean pool, two convolutions, a linear layer."""

    def __init__(self, norm: Norm, height: int, width: int, num_classes: int, rngs: nnx.Rngs):
        # A 5×5 mean with stride 3 turns 17×17 into 5×5. Images under 5×5 are not pooled.
        self.pool = min(height, width) >= 5
        if self.pool:
            height, width = (height - 5) // 3 + 1, (width - 5) // 3 + 1
        self.reduce = Unit(norm, 1088, 128, 1, rngs=rngs)
        self.conv = Unit(norm, 128, 768, (height, width), pad=False, rngs=rngs)
        self.head = head(768, num_classes, rngs)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, 1088) → (B, classes)."""
        if self.pool:
            x = nnx.avg_pool(x, (5, 5), (3, 3))
        return self.head(flat(self.conv(self.reduce(x, training), training)))


def mixed_5b(norm: Norm, rngs: nnx.Rngs) -> Branches:
    """Build the mixed block of the stem: 192 → 320 channels."""
    return Branches(
        Unit(norm, 192, 96, 1, rngs=rngs),
        Chain(Unit(norm, 192, 48, 1, rngs=rngs), Unit(norm, 48, 64, 5, rngs=rngs)),
        Chain(
            Unit(norm, 192, 64, 1, rngs=rngs),
            Unit(norm, 64, 96, 3, rngs=rngs),
            Unit(norm, 96, 96, 3, rngs=rngs),
        ),
        Chain(SameMean(), Unit(norm, 192, 64, 1, rngs=rngs)),
    )


def block_35(norm: Norm, rngs: nnx.Rngs) -> Branches:
    """Build Inception-ResNet-A: 320 → 128 channels."""
    return Branches(
        Unit(norm, 320, 32, 1, rngs=rngs),
        Chain(Unit(norm, 320, 32, 1, rngs=rngs), Unit(norm, 32, 32, 3, rngs=rngs)),
        Chain(
            Unit(norm, 320, 32, 1, rngs=rngs),
            Unit(norm, 32, 48, 3, rngs=rngs),
            Unit(norm, 48, 64, 3, rngs=rngs),
        ),
    )


def reduction_a(norm: Norm, rngs: nnx.Rngs) -> Branches:
    """Build the first reduction: 320 → 1,088 channels at half the size."""
    return Branches(
        Unit(norm, 320, 384, 3, 2, pad=False, rngs=rngs),
        Chain(
            Unit(norm, 320, 256, 1, rngs=rngs),
            Unit(norm, 256, 256, 3, rngs=rngs),
            Unit(norm, 256, 384, 3, 2, pad=False, rngs=rngs),
        ),
        Pool(),
    )


def block_17(norm: Norm, rngs: nnx.Rngs) -> Branches:
    """Build Inception-ResNet-B: 1,088 → 384 channels."""
    return Branches(
        Unit(norm, 1088, 192, 1, rngs=rngs),
        Chain(
            Unit(norm, 1088, 128, 1, rngs=rngs),
            Unit(norm, 128, 160, (1, 7), rngs=rngs),
            Unit(norm, 160, 192, (7, 1), rngs=rngs),
        ),
    )


def reduction_b(norm: Norm, rngs: nnx.Rngs) -> Branches:
    """Build the second reduction: 1,088 → 2,080 channels at half the size."""
    return Branches(
        Chain(
            Unit(norm, 1088, 256, 1, rngs=rngs),
            Unit(norm, 256, 384, 3, 2, pad=False, rngs=rngs),
        ),
        Chain(
            Unit(norm, 1088, 256, 1, rngs=rngs),
            Unit(norm, 256, 288, 3, 2, pad=False, rngs=rngs),
        ),
        Chain(
            Unit(norm, 1088, 256, 1, rngs=rngs),
            Unit(norm, 256, 288, 3, rngs=rngs),
            Unit(norm, 288, 320, 3, 2, pad=False, rngs=rngs),
        ),
        Pool(),
    )


def block_8(norm: Norm, rngs: nnx.Rngs) -> Branches:
    """Build Inception-ResNet-C: 2,080 → 448 channels."""
    return Branches(
        Unit(norm, 2080, 192, 1, rngs=rngs),
        Chain(
            Unit(norm, 2080, 192, 1, rngs=rngs),
            Unit(norm, 192, 224, (1, 3), rngs=rngs),
            Unit(norm, 224, 256, (3, 1), rngs=rngs),
        ),
    )


def _at_17(size: int) -> int:
    """Compute the size of an image after the stem and the first reduction: 17 for 299."""
    for window, stride in ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2)):
        size = (size - window) // stride + 1
    return size
