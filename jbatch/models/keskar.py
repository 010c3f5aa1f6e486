"""Networks C1 to C4 of Keskar et al. (arXiv 1609.04836, appendix B); F1 is an MLP."""

import itertools
import math

import jax
from flax import nnx

from jbatch.errors import Mistake
from jbatch.models.layers import ConvNorm, Dropout, LinearNorm, flat, head
from jbatch.models.norm import Pass
from jbatch.models.pool import MaxPool
from jbatch.models.specs import KeskarC1, KeskarC2


class KeskarC1Network(nnx.Module):
    """Two 5×5 convolutions of stride 2, each with a 3×3 pool; dense layers; a head."""

    def __init__(
        self, net: KeskarC1, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        *image, channels = input_shape
        self.convs = nnx.List(
            ConvNorm(net.norm, fan_in, 64, 5, 2, rngs=rngs) for fan_in in (channels, 64)
        )
        for _ in self.convs:
            image = [(-(-size // 2) - 3) // 2 + 1 for size in image]
        if min(image) < 1:
            raise Mistake(
                f"images of {input_shape[0]}×{input_shape[1]} pixels are too small for KeskarC1: "
                "give 21×21 or more"
            )
        widths = (64 * math.prod(image), 384, 192)
        self.dense = nnx.List(
            LinearNorm(net.norm, fan_in, fan_out, rngs)
            for fan_in, fan_out in itertools.pairwise(widths)
        )
        self.dropouts = nnx.List(Dropout(net.dropout, number) for number in range(2))
        self.head = head(192, num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = images
        for conv in self.convs:
            x = MaxPool(3, 2)(nnx.relu(conv(x, training)))
        x = flat(x)
        for dense, dropout in zip(self.dense, self.dropouts, strict=True):
            x = dropout(nnx.relu(dense(x, training)), training)
        return self.head(x)


class KeskarC2Network(nnx.Module):
    """Stacks of 3×3 convolutions, each stack with a 2×2 pool; a dense layer; a head."""

    def __init__(
        self, net: KeskarC2, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        height, width, fan_in = input_shape
        stacks = []
        for count, fan_out in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            widths = (fan_in, *[fan_out] * count)
            stacks.append(
                nnx.List(
                    ConvNorm(net.norm, before, after, 3, rngs=rngs)
                    for before, after in itertools.pairwise(widths)
                )
            )
            fan_in, height, width = fan_out, height // 2, width // 2
        if min(height, width) < 1:
            raise Mistake(
                f"images of {input_shape[0]}×{input_shape[1]} pixels are too small for KeskarC2: "
                "give 32×32 or more"
            )
        self.stacks = nnx.List(stacks)
        self.dense = LinearNorm(net.norm, fan_in * height * width, 512, rngs)
        self.dropout = Dropout(net.dropout)
        self.head = head(512, num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = images
        for stack in self.stacks:
            for conv in stack:
                x = nnx.relu(conv(x, training))
            x = MaxPool(2, 2)(x)
        x = self.dropout(nnx.relu(self.dense(flat(x), training)), training)
        return self.head(x)
