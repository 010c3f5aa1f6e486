"""Train the GPT of `benchmarks.gpt` with a plain flax loop: batches, `nnx.jit`, an `nnx.Optimizer`.

With `every` over 1, `optax.MultiSteps` accumulates that many batches.

The network is written for batches. Its parts are named as jbatch's, so that one's weights fit the
other.
"""

import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import gpt
from benchmarks.peer_flax import accumulating
from benchmarks.turns import Loop


class Block(nnx.Module):
    """Attention and feed-forward layers, each added to what it was given."""

    def __init__(self, width: int, heads: int, layers: int, dtype, rngs: nnx.Rngs):
        def linear(fan_in: int, fan_out: int, deviation: float = 0.02) -> nnx.Linear:
            init = nnx.initializers.normal(deviation)
            how = {"use_bias": False, "kernel_init": init, "dtype": dtype, "rngs": rngs}
            return nnx.Linear(fan_in, fan_out, **how)

        added = 0.02 / math.sqrt(2 * layers)
        self.heads = heads
        self.attention_norm = nnx.LayerNorm(
            width, epsilon=1e-5, use_bias=False, dtype=dtype, rngs=rngs
        )
        self.queries_keys_values = linear(width, 3 * width)
        self.attended = linear(width, width, added)
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, use_bias=False, dtype=dtype, rngs=rngs)
        self.wide = linear(width, 4 * width)
        self.narrow = linear(4 * width, width, added)

    def __call__(self, x):
        """Of (B, T, width)."""
        parts = jnp.split(self.queries_keys_values(self.attention_norm(x)), 3, axis=-1)
        parts = [part.reshape(*x.shape[:2], self.heads, -1) for part in parts]
        found = jax.nn.dot_product_attention(*parts, is_causal=True)
        x = x + self.attended(found.reshape(x.shape))
        return x + self.narrow(nnx.gelu(self.wide(self.norm(x)), approximate=False))


class Network(nnx.Module):
    """Token and position embedding, blocks, norm and tied head."""

    def __init__(self, dtype, rngs: nnx.Rngs):
        def embedding(count: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(count, width, embedding_init=init, dtype=dtype, rngs=rngs)

        layers, heads, width = gpt.NETWORK.layers, gpt.NETWORK.heads, gpt.NETWORK.width
        self.tokens, self.positions = embedding(gpt.VOCABULARY), embedding(gpt.SEQUENCE)
        self.blocks = nnx.List(Block(width, heads, layers, dtype, rngs) for _ in range(layers))
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, tokens):
        """Return logits (B, T, VOCABULARY) of tokens (B, T)."""
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.tokens.attend(self.norm(x))


def losses_of(model, batch):
    """Return the cross-entropy of each token of a batch (B, T + 1), in nats: (B, T)."""
    logits = model(batch[:, :-1]).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:])


def adamw() -> optax.GradientTransformation:
    """Return AdamW, which decays matrices, of a clipped gradient."""

    def decayed(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    b1, b2 = gpt.BETAS
    adam = optax.adamw(gpt.RATE, b1, b2, weight_decay=gpt.DECAY, mask=decayed)
    return optax.chain(optax.clip_by_global_norm(gpt.CLIP), adam)


def stepper(model: nnx.Module, every: int = 1) -> Callable:
    """Return what takes a batch, and returns its loss; `every` of them are an update."""
    optimizer = nnx.Optimizer(model, accumulating(adamw(), every), wrt=nnx.Param)

    def loss_of(model, batch):
        return losses_of(model, batch).mean()

    @nnx.jit
    def step(model, optimizer, batch):
        loss, gradients = nnx.value_and_grad(loss_of)(model, batch)
        optimizer.update(model, gradients)
        return loss

    # As in flax's performance guide: cache the graph instead of walking it at each call.
    return nnx.cached_partial(step, model, optimizer)


def loop(size: int, every: int, dtype) -> Loop:
    """Make a loop that takes n updates of `size`, each in `every` batches, and waits for them."""
    step, batches = stepper(Network(dtype, nnx.Rngs(0)), every), shuffled(size // every)

    def updates(count: int) -> None:
        for number in range(count * every):
            loss = step(jnp.asarray(next(batches)))
            if number % 16 == 15:  # or waiting batches fill the memory
                loss.block_until_ready()
        jax.block_until_ready(loss)

    return updates


def shuffled(size: int) -> Iterator[np.ndarray]:
    """Yield batches of the windows of each epoch's permutation."""
    draw, tokens = np.random.default_rng(0), gpt.text()
    count = len(tokens) // gpt.SEQUENCE - 1
    while True:
        starts = draw.permutation(count) * gpt.SEQUENCE + draw.integers(gpt.SEQUENCE)
        for first in range(0, count - size + 1, size):
            yield gpt.windows(tokens, starts[first : first + size])
