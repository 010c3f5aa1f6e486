"""Wide residual networks (Zagoruyko and Komodakis, arXiv 1605.07146)."""

import jax
from flax import nnx

from jbatch.models.layers import Conv, ConvNorm, head
from jbatch.models.norm import Pass, norm_layer
from jbatch.models.specs import Norm, WideResNet


class WideResNetNetwork(nnx.Module):
    """A stem of 16 channels, three groups of pre-activation blocks, norm, ReLU, mean, head."""

    def __init__(
        self, net: WideResNet, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        fan_in = 16
        self.stem = Conv(net.norm, input_shape[-1], fan_in, 3, rngs=rngs)
        blocks = []
        for group, width in enumerate((16, 32, 64)):
            for index in range((net.depth - 4) // 6):
                stride = 2 if group and index == 0 else 1
                blocks.append(PreActivationBlock(net.norm, fan_in, width * net.widen, stride, rngs))
                fan_in = width * net.widen
        self.blocks = nnx.List(blocks)
        self.norm = norm_layer(net.norm, fan_in)
        self.head = head(fan_in, num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x, training)
        x = nnx.relu(self.norm(x, training))
        return self.head(x.mean((1, 2)))


class PreActivationBlock(nnx.Module):
    """Norm, ReLU, convolution, twice; the shortcut is a 1×1 convolution where the shape changes."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, stride: int, rngs: nnx.Rngs):
        self.norm1 = norm_layer(norm, fan_in)
        self.conv1 = ConvNorm(norm, fan_in, fan_out, 3, stride, rngs=rngs)
        self.conv2 = Conv(norm, fan_out, fan_out, 3, rngs=rngs)
        changes = stride != 1 or fan_in != fan_out
        self.shortcut = Conv(norm, fan_in, fan_out, 1, stride, rngs=rngs) if changes else None

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H/stride, W/stride, fan_out)."""
        y = nnx.relu(self.norm1(x, training))
        if self.shortcut is not None:
            x = self.shortcut(y)  # from the normed input, as in the authors' code
        y = nnx.relu(self.conv1(y, training))
        return x + self.conv2(y)
