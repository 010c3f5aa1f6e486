"""A small convolutional network, for CPUs."""

import itertools

import jax
from flax import nnx

from jbatch.models.layers import ConvNorm, flat, head
from jbatch.models.norm import Pass
from jbatch.models.specs import SmallCNN


class SmallCNNNetwork(nnx.Module):
    """Convolutions of stride 2 with norm and ReLU, and a linear head on the remaining pixels."""

    def __init__(
        self, net: SmallCNN, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
    ):
        height, width, channels = input_shape
        self.layers = nnx.List(
            ConvNorm(net.norm, fan_in, fan_out, 3, 2, rngs=rngs)
            for fan_in, fan_out in itertools.pairwise((channels, *net.widths))
        )
        for _ in net.widths:
            height, width = -(-height // 2), -(-width // 2)
        self.head = head(height * width * net.widths[-1], num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = images
        for layer in self.layers:
            x = nnx.relu(layer(x, training))
        return self.head(flat(x))
