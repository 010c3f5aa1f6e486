"""Vision transformers (Dosovitskiy et al., arXiv 2010.11929; Touvron et al., arXiv 2012.12877)."""

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.errors import Mistake
from jbatch.models.gelu import gelu
from jbatch.models.layers import Dropout, Linear
from jbatch.models.norm import ChannelNormLayer, Pass
from jbatch.models.norms import NoNorm
from jbatch.models.specs import ViT

EPSILON = 1e-6
NORMAL = nnx.initializers.truncated_normal(0.02)


class ViTNetwork(nnx.Module):
    """Patches and a class token with learned positions, blocks, norm, a head on the class token."""

    def __init__(self, net: ViT, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
        height, width, channels = input_shape
        if height % net.patch or width % net.patch:
            raise Mistake(
                f"patches of {net.patch} pixels do not divide images of {height}×{width}: give a "
                "patch that does"
            )
        self.patch, fan_in = net.patch, net.patch * net.patch * channels
        tokens = 1 + (height // net.patch) * (width // net.patch)
        self.embed = linear(fan_in, net.width, rngs)
        self.token = nnx.Param(NORMAL(rngs.params(), (net.width,), jnp.float32))
        self.positions = nnx.Param(NORMAL(rngs.params(), (tokens, net.width), jnp.float32))
        self.dropout = Dropout(net.dropout)
        self.blocks = nnx.List(Block(net, number, rngs) for number in range(net.layers))
        self.norm = ChannelNormLayer(EPSILON, net.width)
        self.head = linear(net.width, num_classes, rngs)

    def __call__(self, images: jax.Array, training: Pass | None) -> jax.Array:
        """Return logits (B, classes) of images (B, H, W, C)."""
        size, height, width, channels = images.shape
        rows, columns, patch = height // self.patch, width // self.patch, self.patch
        x = images.reshape(size, rows, patch, columns, patch, channels).swapaxes(2, 3)
        x = self.embed(x.reshape(size, rows * columns, patch * patch * channels))
        token = jnp.broadcast_to(self.token[...].astype(x.dtype), (size, 1, x.shape[-1]))
        x = jnp.concatenate((token, x), axis=1) + self.positions[...].astype(x.dtype)
        x = self.dropout(x, training)
        for block in self.blocks:
            x = block(x, training)
        return self.head(self.norm(x[:, 0]))


class Block(nnx.Module):
    """Norm and attention, norm and feed-forward layers, each added to what it was given."""

    def __init__(self, net: ViT, number: int, rngs: nnx.Rngs):
        width, depth = net.width, net.stochastic_depth * number / max(net.layers - 1, 1)
        self.heads = net.heads
        self.attention_norm = ChannelNormLayer(EPSILON, width)
        self.queries_keys_values = linear(width, 3 * width, rngs)
        self.attended = linear(width, width, rngs)
        self.norm = ChannelNormLayer(EPSILON, width)
        self.wide, self.narrow = linear(width, 4 * width, rngs), linear(4 * width, width, rngs)
        first = 1 + 4 * number  # the embedding has 0
        self.dropouts = nnx.List(Dropout(net.dropout, first + part) for part in (0, 1))
        self.depths = nnx.List(Dropout(depth, first + part, whole=True) for part in (2, 3))

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, T, width) → (B, T, width)."""
        for part, found in enumerate((self._attention, self._feed_forward)):
            x = x + self.depths[part](self.dropouts[part](found(x), training), training)
        return x

    def _attention(self, x: jax.Array) -> jax.Array:
        parts = jnp.split(self.queries_keys_values(self.attention_norm(x)), 3, axis=-1)
        queries, keys, values = (part.reshape(*x.shape[:2], self.heads, -1) for part in parts)
        with jax.numpy_dtype_promotion("standard"):  # JAX's attention mixes dtypes
            found = jax.nn.dot_product_attention(queries, keys, values)
        return self.attended(found.reshape(x.shape))

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return self.narrow(gelu(self.wide(self.norm(x))))


def linear(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> Linear:
    """Make a linear layer with a bias, for any number of leading axes."""
    return Linear(NoNorm(), fan_in, fan_out, init=NORMAL, rngs=rngs)
