"""Accumulate gradients by `optax.microbatching`: one jitted step, a loop over micro-batches inside.

The network, the data and the optimizer are those of `benchmarks.peer_flax`. The running statistics
of batch norm are the mean of the micro-batches'.
"""

from functools import partial

import jax
import numpy as np
import optax
from flax import nnx
from optax.microbatching import AccumulationType, microbatch

from benchmarks.peer_flax import network, shuffled, standardized
from benchmarks.turns import Loop


def loop(
    name: str, images: np.ndarray, labels: np.ndarray, size: int, micro_batch: int, dtype
) -> Loop:
    """Make a loop that takes n updates of `size`, each in micro-batches, and waits for them."""
    model = network(name, dtype)
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    transformation = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(1e-3, momentum=0.9))
    state = transformation.init(params)

    def sums(params, rest, images, labels):
        def loss_of(params):
            model = nnx.merge(graph, params, rest, copy=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
            return losses.sum(), nnx.split(model, nnx.Param, ...)[2]

        (loss, after), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss, gradients, after

    kinds = AccumulationType.SUM, AccumulationType.SUM, AccumulationType.MEAN
    in_parts = microbatch(sums, (2, 3), micro_batch, accumulator=kinds)

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, rest, state, images, labels):
        loss, gradients, rest = in_parts(params, rest, images, labels)
        mean = jax.tree.map(lambda gradient: gradient / size, gradients)
        updates, state = transformation.update(mean, state, params)
        return optax.apply_updates(params, updates), rest, state, loss / size

    batches = shuffled(standardized(images), labels, size)

    def updates(count: int) -> None:
        nonlocal params, rest, state
        for number in range(count):
            params, rest, state, loss = step(params, rest, state, *next(batches))
            if number % 4 == 3:  # or waiting batches fill the memory
                loss.block_until_ready()
        jax.block_until_ready(params)

    return updates
