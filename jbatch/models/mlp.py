"""The multi-layer perceptron."""

import itertools
import math

import jax
from flax import nnx

from jbatch.models.layers import LinearNorm, flat, head
from jbatch.models.norm import Pass
from jbatch.models.specs import MLP


class MLPNetwork(nnx.Module):
    """Hidden layers with ReLU, and a linear head."""

    def __init__(self, mlp: MLP, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
        widths = (math.prod(input_shape), *mlp.hidden)
        self.layers = nnx.List(
            LinearNorm(mlp.norm, fan_in, fan_out, rngs)
            for fan_in, fan_out in itertools.pairwise(widths)
        )
        self.head = head(widths[-1], num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        x = flat(images)
        for layer in self.layers:
            x = nnx.relu(layer(x, training))
        return self.head(x)
