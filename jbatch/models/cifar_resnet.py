"""The residual network for small images (He et al., arXiv 1512.03385, section 4.2)."""

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.models.layers import ConvNorm, head
from jbatch.models.norm import Pass
from jbatch.models.specs import CifarResNet, Norm


class CifarResNetNetwork(nnx.Module):
    """A 3×3 stem, blocks of each width, global average pooling, a linear head."""

    def __init__(
        self, net: CifarResNet, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        fan_in = net.widths[0]
        self.stem = ConvNorm(net.norm, input_shape[-1], fan_in, 3, rngs=rngs)
        blocks = []
        for group, width in enumerate(net.widths):
            for index in range(net.blocks):
                stride = 2 if group and index == 0 else 1
                blocks.append(BasicBlock(net.norm, fan_in, width, stride, rngs))
                fan_in = width
        self.blocks = nnx.List(blocks)
        self.head = head(fan_in, num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = nnx.relu(self.stem(images, training))
        for block in self.blocks:
            x = block(x, training)
        return self.head(x.mean((1, 2)))


class BasicBlock(nnx.Module):
    """Two 3×3 convolutions beside a shortcut without parameters (the paper's option A)."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = ConvNorm(norm, fan_in, fan_out, 3, stride, rngs=rngs)
        self.conv2 = ConvNorm(norm, fan_out, fan_out, 3, rngs=rngs)
        self.stride, self.added = stride, fan_out - fan_in

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H/stride, W/stride, fan_out)."""
        y = nnx.relu(self.conv1(x, training))
        y = self.conv2(y, training)
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.added)))  # channels of zeros
        return nnx.relu(x + y)
