"""The transformer for text, of stock flax layers. It is called with one text: no batch axis."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jbatch.models.dense import dot_general
from jbatch.models.gelu import gelu
from jbatch.models.language import GPT

# GPT-2's initialization: every matrix has this deviation, and those that add to the residual stream
# are smaller by √(2 · layers), as so many are added.
DEVIATION = 0.02
EPSILON = 1e-5
ROTARY_BASE = 10_000


class GPTNetwork(nnx.Module):
    """Token and position embedding, blocks, norm and head."""

    def __init__(
        self, gpt: GPT, vocabulary: int, sequence: int, dtype: DTypeLike, *, rngs: nnx.Rngs
    ):
        def embedding(count: int) -> nnx.Embed:
            init = nnx.initializers.normal(DEVIATION)
            return nnx.Embed(count, gpt.width, embedding_init=init, dtype=dtype, rngs=rngs)

        self.tokens = embedding(vocabulary)
        self.positions = embedding(sequence) if gpt.positions == "learned" else None
        self.dropout = nnx.Dropout(gpt.dropout, rngs=rngs)
        self.blocks = nnx.List(Block(gpt, dtype, rngs) for _ in range(gpt.layers))
        self.norm = _norm(gpt, dtype, rngs)
        untied = not gpt.tied
        self.head = _linear(gpt.width, vocabulary, dtype, rngs, bias=False) if untied else None

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Return the logits (T, vocabulary) of what follows each of the tokens (T,) int32."""
        with jax.numpy_dtype_promotion("standard"):  # flax's norms and JAX's attention mix dtypes
            return self._logits(tokens)

    def _logits(self, tokens: jax.Array) -> jax.Array:
        x = self.tokens(tokens)  # (T, width)
        if self.positions is not None:
            x = x + self.positions(jnp.arange(len(tokens), dtype=jnp.int32))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.tokens.attend(x) if self.head is None else self.head(x)


class Block(nnx.Module):
    """Attention and feed-forward layers, each added to what it was given."""

    def __init__(self, gpt: GPT, dtype: DTypeLike, rngs: nnx.Rngs):
        width, scale = gpt.width, 1 / math.sqrt(2 * gpt.layers)
        self.heads, self.rotary = gpt.heads, gpt.positions == "rotary"
        self.attention_norm = _norm(gpt, dtype, rngs)
        self.queries_keys_values = _linear(width, 3 * width, dtype, rngs, bias=gpt.bias)
        self.attended = _linear(width, width, dtype, rngs, bias=gpt.bias, scale=scale)
        self.norm = _norm(gpt, dtype, rngs)
        self.wide = _linear(width, gpt.hidden, dtype, rngs, bias=gpt.bias)
        gated = gpt.feed_forward == "swiglu"
        self.gate = _linear(width, gpt.hidden, dtype, rngs, bias=gpt.bias) if gated else None
        self.narrow = _linear(gpt.hidden, width, dtype, rngs, bias=gpt.bias, scale=scale)
        self.dropout = nnx.Dropout(gpt.dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return (T, width) of (T, width)."""
        x = x + self.dropout(self._attention(self.attention_norm(x)))
        return x + self.dropout(self._feed_forward(self.norm(x)))

    def _attention(self, x: jax.Array) -> jax.Array:
        parts = jnp.split(self.queries_keys_values(x), 3, axis=-1)
        queries, keys, values = (part.reshape(len(x), self.heads, -1) for part in parts)
        if self.rotary:
            queries, keys = rotated(queries), rotated(keys)
        found = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
        return self.attended(found.reshape(x.shape))

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        wide = self.wide(x)
        if self.gate is None:
            return self.narrow(gelu(wide))
        return self.narrow(wide * nnx.silu(self.gate(x)))


def rotated(x: jax.Array) -> jax.Array:
    """Rotate pairs of numbers of each head by angles that grow with the place: (T, heads, K)."""
    half = x.shape[-1] // 2
    speeds = ROTARY_BASE ** -(jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(len(x), dtype=jnp.float32)[:, None, None] * speeds  # (T, 1, K/2)
    cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    one, other = x[..., :half], x[..., half:]
    return jnp.concatenate((one * cos - other * sin, one * sin + other * cos), axis=-1)


def _linear(
    fan_in: int, fan_out: int, dtype: DTypeLike, rngs: nnx.Rngs, *, bias: bool, scale: float = 1.0
) -> nnx.Linear:
    init = nnx.initializers.normal(DEVIATION * scale)
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=bias,
        kernel_init=init,
        dtype=dtype,
        dot_general=dot_general,
        rngs=rngs,
    )


def _norm(gpt: GPT, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Module:
    if gpt.norm == "rms":
        return nnx.RMSNorm(gpt.width, epsilon=EPSILON, dtype=dtype, rngs=rngs)
    return nnx.LayerNorm(gpt.width, epsilon=EPSILON, use_bias=gpt.bias, dtype=dtype, rngs=rngs)
