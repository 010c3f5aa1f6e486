"""A small residual network for small images."""

import jax
from flax import nnx

from jbatch.layout import Layout
from jbatch.models.norm import norm_layer
from jbatch.models.specs import NoNorm, Norm, SmallResNet


class SmallResNetNetwork(nnx.Module):
    """A 3×3 stem, one basic block per width, global average pooling, a linear head."""

    def __init__(
        self, net: SmallResNet, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        first = net.widths[0]
        self.stem = _conv(net.norm, input_shape[-1], first, 3, 1, rngs)
        self.stem_norm = norm_layer(net.norm, first)
        self.blocks = nnx.List(
            BasicBlock(net.norm, fan_in, fan_out, stride=1 if index == 0 else 2, rngs=rngs)
            for index, (fan_in, fan_out) in enumerate(
                zip((first, *net.widths), net.widths, strict=False)
            )
        )
        self.head = nnx.Linear(net.widths[-1], num_classes, rngs=rngs)

    def __call__(self, images: jax.Array, layout: Layout | None) -> jax.Array:
        """Logits (B, classes) of images (B, H, W, C)."""
        x = nnx.relu(self.stem_norm(self.stem(images), layout))
        for block in self.blocks:
            x = block(x, layout)
        return self.head(x.mean((1, 2)))


class BasicBlock(nnx.Module):
    """Two 3×3 convolutions beside a shortcut (He et al., arXiv 1512.03385)."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = _conv(norm, fan_in, fan_out, 3, stride, rngs)
        self.norm1 = norm_layer(norm, fan_out)
        self.conv2 = _conv(norm, fan_out, fan_out, 3, 1, rngs)
        self.norm2 = norm_layer(norm, fan_out)
        changes = stride != 1 or fan_in != fan_out
        self.shortcut = _conv(norm, fan_in, fan_out, 1, stride, rngs) if changes else None
        self.shortcut_norm = norm_layer(norm, fan_out) if changes else None

    def __call__(self, x: jax.Array, layout: Layout | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H/stride, W/stride, fan_out)."""
        y = nnx.relu(self.norm1(self.conv1(x), layout))
        y = self.norm2(self.conv2(y), layout)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), layout)
        return nnx.relu(x + y)


def _conv(norm: Norm, fan_in: int, fan_out: int, size: int, stride: int, rngs: nnx.Rngs):
    return nnx.Conv(
        fan_in,
        fan_out,
        (size, size),
        strides=stride,
        # A bias before a norm has a gradient of pure rounding, which Adam makes a full step.
        use_bias=isinstance(norm, NoNorm),
        kernel_init=nnx.initializers.he_normal(),
        rngs=rngs,
    )
