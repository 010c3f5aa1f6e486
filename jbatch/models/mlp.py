"""The multi-layer perceptron."""

import itertools
import math

import jax
from flax import nnx

from jbatch.layout import Layout
from jbatch.models.norm import norm_layer
from jbatch.models.specs import MLP, NoNorm


class MLPNetwork(nnx.Module):
    """Hidden layers with ReLU, and a linear head."""

    def __init__(self, mlp: MLP, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
        widths = (math.prod(input_shape), *mlp.hidden)
        # A bias before a norm has a gradient of pure rounding, which Adam makes a full step.
        use_bias = isinstance(mlp.norm, NoNorm)
        he = nnx.initializers.he_normal()
        self.layers = nnx.List(
            nnx.Linear(fan_in, fan_out, use_bias=use_bias, kernel_init=he, rngs=rngs)
            for fan_in, fan_out in itertools.pairwise(widths)
        )
        self.norms = nnx.List(norm_layer(mlp.norm, width) for width in mlp.hidden)
        self.head = nnx.Linear(widths[-1], num_classes, rngs=rngs)

    def __call__(self, images: jax.Array, layout: Layout | None) -> jax.Array:
        """Logits (B, classes) of images (B, H, W, C)."""
        x = images.reshape(images.shape[0], -1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = nnx.relu(norm(layer(x), layout))
        return self.head(x)
