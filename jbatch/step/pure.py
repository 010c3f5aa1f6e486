"""One update, as pure functions written for one device of a named axis.

`accumulate` runs a micro-batch through the network and adds to this device's sums, without
communication. `apply` adds the sums of all devices in one all-reduce and takes the optimizer's
step. All sums are over examples or ghost batches, never means of means, so the result does not
depend on how the update is split.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jbatch.data.inputs import Batch
from jbatch.models.norm import Pass
from jbatch.models.specs import GhostBatchNorm
from jbatch.plan.layout import AXIS, Layout
from jbatch.task.classify import (
    HEAD_WEIGHTS,
    Task,
    Tree,
    correct,
    cross_entropy,
    forward,
    network_of,
    split,
)

Scalar = jax.Array | npt.NDArray[Any]  # of shape (); NumPy's on the host


class Totals(NamedTuple):
    """Sums over the examples trained on since the last log point; scalars.

    Counts are int32, because a float32 count stops at 2²⁴. `rest` holds the rounding error of the
    loss (Kahan), because a large float32 sum would lose the small part of one update.
    """

    loss: Scalar  # float32
    rest: Scalar  # float32
    correct: Scalar  # int32
    examples: Scalar  # int32


class State(NamedTuple):
    """The state that an update changes, replicated. Plain nested dicts dispatch fastest."""

    params: Tree
    stats: Tree  # running statistics of norms
    optimizer: Any  # optax's state
    totals: Totals
    taken: Scalar  # int32, updates so far under all plans


class Sums(NamedTuple):
    """A device's sums over the examples of an update so far."""

    gradients: Tree  # of the loss's sum, like State.params
    stats: Tree  # sums over ghost batches, like State.stats
    loss: jax.Array  # float32 scalar, sum over examples
    correct: jax.Array  # float32 scalar, number of right predictions


def init(task: Task, seed: jax.Array) -> State:
    """Return the initial state from a uint32 seed."""
    _, params, stats = split(network_of(task, seed))
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = task.optimizer.transformation(0.0, task.momentum).init(params)
    return State(params, stats, optimizer, no_totals(), np.zeros((), np.int32))


def state_shapes(task: Task) -> State:
    """Return the shapes and dtypes of the state."""
    with jax.enable_x64(False):
        seed = jax.ShapeDtypeStruct((), np.uint32)
        shapes: State = jax.eval_shape(partial(init, task), seed)
    return shapes


def no_totals() -> Totals:
    """Return totals over no example, on the host.

    They are NumPy arrays, because JAX (as of 0.12) places a jax.Array wrongly on the devices of
    several processes with one device each.
    """
    zero, none = np.zeros((), np.float32), np.zeros((), np.int32)
    return Totals(loss=zero, rest=zero, correct=none, examples=none)


def no_sums(state: State) -> Sums:
    """Return sums over no example."""
    zero = jnp.zeros((), jnp.float32)
    gradients, stats = jax.tree.map(jnp.zeros_like, (state.params, state.stats))
    return Sums(gradients, stats, zero, zero)


def gather(task: Task, layout: Layout, state: State, batch: Batch) -> Sums:
    """Return this device's sums over one micro-batch.

    Args:
        task: the task.
        layout: how the pass is split over devices.
        state: its parameters are the point of the gradient.
        batch: this device's examples, in the order of `layout.places`.
    """

    loss_sum = _loss_sum(task, layout, state.stats, batch)
    (loss, (stats, right)), gradients = jax.value_and_grad(loss_sum, has_aux=True)(state.params)
    return Sums(gradients, stats, loss, right)


def _loss_sum(
    task: Task, layout: Layout, stats: Tree, batch: Batch
) -> Callable[[Tree], tuple[jax.Array, tuple[Tree, jax.Array]]]:
    """Return parameters → (sum of losses, (sums of statistics, number right)) of a micro-batch."""

    def loss_sum(params: Tree) -> tuple[jax.Array, tuple[Tree, jax.Array]]:
        training = Pass(layout, cast(jax.Array, batch.keys))  # None in evaluation only
        heads, sums = forward(task, params, stats, batch.images, training)
        losses = sum(
            weight * cross_entropy(logits, batch.labels, task.label_smoothing)
            for weight, logits in zip(HEAD_WEIGHTS, heads, strict=False)
        )
        assert isinstance(losses, jax.Array)  # there is at least one head
        return losses.sum(), (sums, correct(heads[0], batch.labels).sum())

    return loss_sum


def kept(task: Task, layout: Layout, state: State, batch: Batch) -> Any:
    """Return the residuals that the backward pass of a micro-batch needs, as a pytree."""
    loss_sum = _loss_sum(task, layout, state.stats, batch)
    return jax.vjp(loss_sum, state.params, has_aux=True)[1]


def accumulate(task: Task, layout: Layout, state: State, sums: Sums, batch: Batch) -> Sums:
    """Return `sums` plus those of one micro-batch."""
    added: Sums = jax.tree.map(jnp.add, sums, gather(task, layout, state, batch))
    return added


def apply(
    task: Task,
    state: State,
    sums: Sums,
    learning_rate: jax.Array,
    batch_size: jax.Array,
    ghost_batches: jax.Array,
) -> tuple[State, jax.Array]:
    """Take the optimizer's step on the mean gradient of the update.

    Args:
        task: the task.
        state: the state before the update.
        sums: over all of the update's examples on this device.
        learning_rate: float32 scalar.
        batch_size: float32 scalar, B over all devices.
        ghost_batches: float32 scalar, n over all devices.

    Returns:
        The state after the update, and the update's mean loss.
    """
    if jax.lax.axis_size(AXIS) > 1:  # on one device, XLA would still copy the sums
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
    """Return the totals plus one update."""
    part = sums.loss - totals.rest
    loss = totals.loss + part
    return Totals(
        loss=loss,
        rest=(loss - totals.loss) - part,
        correct=totals.correct + sums.correct.astype(jnp.int32),
        examples=totals.examples + batch_size.astype(jnp.int32),
    )


def _running(task: Task, stats: Tree, sums: Tree, ghost_batches: jax.Array) -> Tree:
    """Return running statistics after n more ghost batches: d^n · old + (1 − d^n) · their mean.

    They decay per ghost batch, not per update. So their memory in examples stays the same as the
    batch grows.
    """
    if not isinstance(task.model.norm, GhostBatchNorm):
        return stats
    old = jnp.float32(task.model.norm.decay) ** ghost_batches
    new: Tree = jax.tree.map(
        lambda running, total: old * running + (1 - old) * total / ghost_batches, stats, sums
    )
    return new
