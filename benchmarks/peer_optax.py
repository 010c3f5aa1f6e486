"""Accumulate gradients by `optax.microbatching`: one jitted step, a loop over micro-batches inside.

Networks, data and optimizers are those of `benchmarks.peer_flax` and of `peer_flax_gpt` beside it.
The running statistics of batch norm are the mean of the micro-batches'.
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import numpy as np
import optax
from flax import nnx
from optax.microbatching import AccumulationType, microbatch

from benchmarks import gpt, peer_flax, peer_flax_gpt
from benchmarks.turns import Loop


def of_images(
    name: str, images: np.ndarray, labels: np.ndarray, size: int, micro_batch: int, dtype
) -> Loop:
    """Make a loop that takes n updates of `size` images, each in micro-batches."""
    model = peer_flax.network(name, dtype)
    model.train()

    def losses_of(model, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels)

    batches = peer_flax.shuffled(peer_flax.standardized(images), labels, size)
    return _loop(model, losses_of, peer_flax.sgd(), batches, micro_batch, size)


def of_text(size: int, micro_batch: int, dtype) -> Loop:
    """Make a loop that takes n updates of `size` windows, each in micro-batches."""
    model = peer_flax_gpt.Network(dtype, nnx.Rngs(0))
    batches = ((batch,) for batch in peer_flax_gpt.shuffled(size))
    losses_of, optimizer = peer_flax_gpt.losses_of, peer_flax_gpt.adamw()
    return _loop(model, losses_of, optimizer, batches, micro_batch, size * gpt.SEQUENCE)


def _loop(
    model: nnx.Module,
    losses_of: Callable,
    transformation: optax.GradientTransformation,
    batches: Iterator[tuple],
    micro_batch: int,
    terms: int,
) -> Loop:
    """Make the loop over batches, whose loss is a mean of `terms` losses."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    state = transformation.init(params)

    def sums(params, rest, batch):
        def loss_of(params):
            model = nnx.merge(graph, params, rest, copy=True)
            return losses_of(model, *batch).sum(), nnx.split(model, nnx.Param, ...)[2]

        (loss, after), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss, gradients, after

    kinds = AccumulationType.SUM, AccumulationType.SUM, AccumulationType.MEAN
    in_parts = microbatch(sums, 2, micro_batch, accumulator=kinds)

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, rest, state, batch):
        loss, gradients, rest = in_parts(params, rest, batch)
        mean = jax.tree.map(lambda gradient: gradient / terms, gradients)
        updates, state = transformation.update(mean, state, params)
        return optax.apply_updates(params, updates), rest, state, loss / terms

    def updates(count: int) -> None:
        nonlocal params, rest, state
        for number in range(count):
            params, rest, state, loss = step(params, rest, state, next(batches))
            if number % 4 == 3:  # or waiting batches fill the memory
                loss.block_until_ready()
        jax.block_until_ready(params)

    return updates
