"""ResNet-50 (He et al., arXiv 1512.03385), as Goyal et al. train it (arXiv 1706.02677, 5.1)."""

import jax
from flax import nnx

from jbatch.models.layers import ConvNorm, head
from jbatch.models.norm import Pass
from jbatch.models.pool import MaxPool
from jbatch.models.specs import Norm, ResNet50

BLOCKS = 3, 4, 6, 3  # of each width


class ResNet50Network(nnx.Module):
    """A 7×7 stem and a pool, 3, 4, 6 and 3 bottleneck blocks, a mean, a linear head."""

    def __init__(
        self, net: ResNet50, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        fan_in = 64
        self.stem = ConvNorm(net.norm, input_shape[-1], fan_in, 7, 2, rngs=rngs)
        blocks = []
        for group, (count, width) in enumerate(zip(BLOCKS, (64, 128, 256, 512), strict=True)):
            for index in range(count):
                stride = 2 if group and index == 0 else 1
                blocks.append(BottleneckBlock(net.norm, fan_in, width, stride, rngs))
                fan_in = 4 * width
        self.blocks = nnx.List(blocks)
        self.head = head(fan_in, num_classes, rngs, init=nnx.initializers.normal(0.01))

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = self.stem.pooled(images, training, MaxPool(3, 2, pad=True))
        for block in self.blocks:
            x = block(x, training)
        return self.head(x.mean((1, 2)))


class BottleneckBlock(nnx.Module):
    """1×1, 3×3 with the stride, 1×1 to four times the width, beside a shortcut."""

    def __init__(self, norm: Norm, fan_in: int, width: int, stride: int, rngs: nnx.Rngs):
        self.reduce = ConvNorm(norm, fan_in, width, 1, rngs=rngs)
        self.conv = ConvNorm(norm, width, width, 3, stride, rngs=rngs)
        # With scale 0 a block starts as its shortcut, which helps large batches early in training.
        self.expand = ConvNorm(norm, width, 4 * width, 1, scale=0.0, rngs=rngs)
        changes = stride != 1 or fan_in != 4 * width
        self.shortcut = ConvNorm(norm, fan_in, 4 * width, 1, stride, rngs=rngs) if changes else None

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H/stride, W/stride, 4·width)."""
        y = nnx.relu(self.reduce(x, training))
        y = nnx.relu(self.conv(y, training))
        y = self.expand(y, training)
        if self.shortcut is not None:
            x = self.shortcut(x, training)
        return nnx.relu(x + y)
