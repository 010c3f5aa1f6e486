"""One update, as pure functions written for one device of a named axis.

`accumulate` puts a micro-batch through the network and adds to this device's sums, without
communication; `apply` adds the sums of all devices in one all-reduce and takes the optimizer's
step. Everything that is summed is a sum over examples or ghost batches, never a mean of means, so
that the result does not depend on how the update is split.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jbatch.data.inputs import Batch
from jbatch.models.norm import Pass
from jbatch.models.specs import GhostBatchNorm
from jbatch.plan.layout import AXIS, Layout
from jbatch.task.classify import (
    HEAD_WEIGHTS,
    Task,
    correct,
    cross_entropy,
    forward,
    network_of,
    split,
)


class Totals(NamedTuple):
    """Sums over the examples trained on since they were last logged; scalars.

    A float32 count would stop at 2²⁴, and a float32 sum stops where one update's part is lost to
    rounding: so counts are int32, and `rest` keeps what rounding takes from the loss (Kahan).
    """

    loss: jax.Array  # float32
    rest: jax.Array  # float32
    correct: jax.Array  # int32
    examples: jax.Array  # int32


class State(NamedTuple):
    """What an update changes; the same on every device. Plain nested dicts dispatch fastest."""

    params: Any
    stats: Any  # running statistics of norms
    optimizer: Any  # optax's state
    totals: Totals
    taken: jax.Array  # int32 scalar, updates so far, by whatever plans


class Sums(NamedTuple):
    """What a device has gathered of an update so far."""

    gradients: Any  # of the loss's sum, like State.params
    stats: Any  # sums over ghost batches, like State.stats
    loss: jax.Array  # float32 scalar, sum over examples
    correct: jax.Array  # float32 scalar, number of right predictions


def init(task: Task, seed: jax.Array) -> State:
    """The state before the first update, from a uint32 seed."""
    _, params, stats = split(network_of(task, seed))
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = task.optimizer.transformation(0.0, task.momentum).init(params)
    return State(params, stats, optimizer, no_totals(), np.zeros((), np.int32))


@jax.enable_x64(False)
def state_shapes(task: Task) -> State:
    """Shapes and dtypes of the state."""
    return jax.eval_shape(partial(init, task), jax.ShapeDtypeStruct((), np.uint32))


def no_totals() -> Totals:
    """Totals of no example, on the host.

    A jax.Array would be put wrongly on devices of several processes that have but one each (as of
    JAX 0.12).
    """
    zero, none = np.zeros((), np.float32), np.zeros((), np.int32)
    return Totals(loss=zero, rest=zero, correct=none, examples=none)


def no_sums(state: State) -> Sums:
    """Sums of no example."""
    zero = jnp.zeros((), jnp.float32)
    return Sums(*jax.tree.map(jnp.zeros_like, (state.params, state.stats)), zero, zero)


def gather(task: Task, layout: Layout, state: State, batch: Batch) -> Sums:
    """This device's sums over one micro-batch.

    Args:
        task: what is trained.
        layout: how the pass is shared out.
        state: parameters to take the gradient at.
        batch: this device's examples, in the order of `layout.places`.
    """

    loss_sum = _loss_sum(task, layout, state.stats, batch)
    (loss, (stats, right)), gradients = jax.value_and_grad(loss_sum, has_aux=True)(state.params)
    return Sums(gradients, stats, loss, right)


def _loss_sum(task: Task, layout: Layout, stats, batch: Batch):
    """Parameters → (sum of losses, (sums of statistics, number right)), of one micro-batch."""

    def loss_sum(params):
        training = Pass(layout, batch.keys)
        heads, sums = forward(task, params, stats, batch.images, training)
        losses = sum(
            weight * cross_entropy(logits, batch.labels, task.label_smoothing)
            for weight, logits in zip(HEAD_WEIGHTS, heads, strict=False)
        )
        return losses.sum(), (sums, correct(heads[0], batch.labels).sum())

    return loss_sum


def kept(task: Task, layout: Layout, state: State, batch: Batch):
    """What the backward pass keeps of the forward one, for one micro-batch, as a pytree."""
    loss_sum = _loss_sum(task, layout, state.stats, batch)
    return jax.vjp(loss_sum, state.params, has_aux=True)[1]


def accumulate(task: Task, layout: Layout, state: State, sums: Sums, batch: Batch) -> Sums:
    """`sums` with one micro-batch more."""
    return jax.tree.map(jnp.add, sums, gather(task, layout, state, batch))


def apply(
    task: Task,
    state: State,
    sums: Sums,
    learning_rate: jax.Array,
    batch_size: jax.Array,
    ghost_batches: jax.Array,
) -> tuple[State, jax.Array]:
    """The optimizer's step on the mean gradient of the update.

    Args:
        task: what is trained.
        state: before the update.
        sums: of all the update's examples on this device.
        learning_rate: float32 scalar.
        batch_size: float32 scalar, B over all devices.
        ghost_batches: float32 scalar, n over all devices.

    Returns:
        The state after it, and the update's mean loss.
    """
    if jax.lax.axis_size(AXIS) > 1:  # of one device, XLA would copy them all the same
        sums = jax.lax.psum(sums, AXIS)
    gradients = jax.tree.map(lambda leaf: leaf / batch_size, sums.gradients)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = task.optimizer.transformation(learning_rate, task.momentum)
        steps, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, steps)
    return State(
        params=params,
        stats=_running(task, state.stats, sums.stats, ghost_batches),
        optimizer=optimizer_state,
        totals=_added(state.totals, sums, batch_size),
        taken=state.taken + 1,
    ), sums.loss / batch_size


def _added(totals: Totals, sums: Sums, batch_size: jax.Array) -> Totals:
    """The totals with one update more."""
    part = sums.loss - totals.rest
    loss = totals.loss + part
    return Totals(
        loss=loss,
        rest=(loss - totals.loss) - part,
        correct=totals.correct + sums.correct.astype(jnp.int32),
        examples=totals.examples + batch_size.astype(jnp.int32),
    )


def _running(task: Task, stats, sums, ghost_batches):
    """Running statistics after n ghost batches more: d^n of the old, 1 − d^n of their mean.

    Decaying per ghost batch and not per update keeps the memory, in examples, as the batch grows.
    """
    if not isinstance(task.model.norm, GhostBatchNorm):
        return stats
    old = jnp.float32(task.model.norm.decay) ** ghost_batches
    return jax.tree.map(
        lambda running, total: old * running + (1 - old) * total / ghost_batches, stats, sums
    )
