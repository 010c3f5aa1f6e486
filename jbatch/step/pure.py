"""One update, as pure functions written for one device of a named axis.

`accumulate` scores a micro-batch and adds to this device's sums, without communication. `apply`
adds the sums of all devices in one all-reduce and takes the optimizer's step. All sums are over
examples or groups, never means of means, so the result does not depend on how the update is split.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax.flatten_util import ravel_pytree

from jbatch.errors import Mistake
from jbatch.models.batch import Batch
from jbatch.plan.layout import AXIS, Layout
from jbatch.task.base import Learner, Scores, Tree

Scalar = jax.Array | npt.NDArray[Any]  # of shape (); NumPy's on the host


class Totals(NamedTuple):
    """Sums over the examples trained on since the last log point; scalars.

    A float32 sum of many examples would lose the small part of one update, and a float32 count
    stops at 2²⁴. So `rest` holds the rounding error of each sum (Kahan): the sum is sums − rest.
    """

    sums: dict[str, tuple[Scalar, Scalar]]  # float32: scores, as a task returns them
    rest: dict[str, tuple[Scalar, Scalar]]  # float32


class State(NamedTuple):
    """The state that an update changes, replicated. Plain nested dicts dispatch fastest."""

    params: Tree
    stats: Tree  # what a network keeps beside parameters, as the running statistics of norms
    optimizer: Any  # optax's state
    totals: Totals
    taken: Scalar  # int32, updates so far under all plans


class Sums(NamedTuple):
    """A device's sums over the examples of an update so far."""

    gradients: Tree  # of the loss's sum, like State.params
    stats: Tree  # sums over groups, like State.stats
    scores: Scores


def init(learner: Learner, seed: jax.Array) -> State:
    """Return the initial state from a uint32 seed."""
    params, stats = learner.task.init(seed)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = learner.optimizer(0.0, learner.momentum).init(params)
    return State(params, stats, optimizer, no_totals(learner), np.zeros((), np.int32))


def state_shapes(learner: Learner) -> State:
    """Return the shapes and dtypes of the state."""
    with jax.enable_x64(False):
        seed = jax.ShapeDtypeStruct((), np.uint32)
        shapes: State = jax.eval_shape(partial(init, learner), seed)
    return shapes


def no_totals(learner: Learner) -> Totals:
    """Return totals over no example, on the host.

    They are NumPy arrays, because JAX (as of 0.12) places a jax.Array wrongly on the devices of
    several processes with one device each.
    """
    none = _none(learner, np.zeros((), np.float32))
    return Totals(none, none)


def means(totals: Totals) -> dict[str, float]:
    """Return the mean of each score from totals on the host."""
    exact = jax.tree.map(lambda total, rest: float(total) - float(rest), totals.sums, totals.rest)
    return {name: total / weight for name, (total, weight) in exact.items()}


def no_sums(learner: Learner, state: State) -> Sums:
    """Return sums over no example."""
    gradients, stats = jax.tree.map(jnp.zeros_like, (state.params, state.stats))
    return Sums(gradients, stats, _none(learner, jnp.zeros((), jnp.float32)))


def _none(learner: Learner, zero: Any) -> dict[str, tuple[Any, Any]]:
    return dict.fromkeys(("loss", *learner.task.metrics), (zero, zero))


def gather(learner: Learner, layout: Layout, state: State, batch: Batch) -> Sums:
    """Return this device's sums over one micro-batch.

    Args:
        learner: what is trained.
        layout: how the pass is split over devices.
        state: its parameters are the point of the gradient.
        batch: this device's examples, in the order of `layout.places`.
    """
    loss_sum = partial(_loss_sum, learner, layout, state.stats, batch)
    (_, (scores, stats)), gradients = jax.value_and_grad(loss_sum, has_aux=True)(state.params)
    return Sums(gradients, stats, scores)


def _loss_sum(
    learner: Learner, layout: Layout, stats: Tree, batch: Batch, params: Tree
) -> tuple[jax.Array, tuple[Scores, Tree]]:
    """Return (sum of losses, (scores, sums of statistics)) of a micro-batch."""
    scores, left = learner.task.sums(params, stats, batch, layout)
    if set(scores) != {"loss", *learner.task.metrics}:
        raise Mistake(
            f"the task scores {', '.join(sorted(scores))}, but it names loss and "
            f"{', '.join(learner.task.metrics)}: name all of its scores but the loss in `metrics`"
        )
    return scores["loss"][0], (scores, left)


def kept(learner: Learner, layout: Layout, state: State, batch: Batch) -> Any:
    """Return the residuals that the backward pass of a micro-batch needs, as a pytree."""
    loss_sum = partial(_loss_sum, learner, layout, state.stats, batch)
    return jax.vjp(loss_sum, state.params, has_aux=True)[1]


def accumulate(learner: Learner, layout: Layout, state: State, sums: Sums, batch: Batch) -> Sums:
    """Return `sums` plus those of one micro-batch."""
    added: Sums = jax.tree.map(jnp.add, sums, gather(learner, layout, state, batch))
    return added


def apply(
    learner: Learner,
    state: State,
    sums: Sums,
    learning_rate: jax.Array,
    groups: jax.Array,
) -> tuple[State, jax.Array]:
    """Take the optimizer's step on the mean gradient of the update.

    Args:
        learner: what is trained.
        state: the state before the update.
        sums: over all of the update's examples on this device.
        learning_rate: float32 scalar.
        groups: float32 scalar, the number of groups over all devices.

    Returns:
        The state after the update, and the update's mean loss.
    """
    if jax.lax.axis_size(AXIS) > 1:  # on one device, XLA would still copy the sums
        # As one array: a weight that is a constant would get an all-reduce of its own.
        scores, unpacked = ravel_pytree(sums.scores)
        gradients, stats, scores = jax.lax.psum((sums.gradients, sums.stats, scores), AXIS)
        sums = Sums(gradients, stats, unpacked(scores))
    loss, weight = sums.scores["loss"]
    gradients = jax.tree.map(lambda leaf: leaf / weight, sums.gradients)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = learner.optimizer(learning_rate, learner.momentum)
        steps, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, steps)
    return State(
        params=params,
        stats=learner.task.running(state.stats, sums.stats, groups),
        optimizer=optimizer_state,
        totals=_added(state.totals, sums.scores),
        taken=state.taken + 1,
    ), loss / weight


def _added(totals: Totals, scores: Scores) -> Totals:
    """Return the totals plus one update."""
    parts = jax.tree.map(jnp.subtract, scores, totals.rest)
    sums = jax.tree.map(jnp.add, totals.sums, parts)
    rest = jax.tree.map(lambda new, old, part: (new - old) - part, sums, totals.sums, parts)
    return Totals(sums, rest)
