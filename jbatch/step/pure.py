"""One update, as pure functions written for one device of a named axis.

`accumulate` scores a micro-batch and adds to this device's sums, without communication. `apply`
adds the sums of all devices in one all-reduce and takes the optimizer's `step`. All sums are over
examples or groups, never means of means, so the result does not depend on how the update is split.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax.flatten_util import ravel_pytree

from jbatch.composed import moved
from jbatch.data.batch import Batch
from jbatch.devices.parts import part_of_sum
from jbatch.devices.sums import whole_sum
from jbatch.optimizer import transformation
from jbatch.parameters import begins, named
from jbatch.plan.layout import AXIS, Layout, one_group
from jbatch.step import noise
from jbatch.step.noise import Noise
from jbatch.task.base import Learner, ScoreSums, Tree

Scalar = jax.Array | npt.NDArray[Any]  # of shape (); NumPy's on the host


class Totals(NamedTuple):
    """Sums over the examples trained on since the last log point; scalars.

    A float32 sum of many examples would lose the small part of one update, and a float32 count
    stops at 2²⁴. So `rest` holds the rounding error of each sum (Kahan): the sum is sums − rest.
    """

    sums: ScoreSums  # float32
    rest: ScoreSums


class Average(NamedTuple):
    """An average over the updates so far, which remembers a number of examples."""

    params: Tree
    stats: Tree
    weight: Scalar  # float32, 1 − the weight of what came before the first update


class State(NamedTuple):
    """The state that an update changes, replicated. Plain nested dicts dispatch fastest."""

    params: Tree
    stats: Tree  # what a network keeps beside parameters, as the running statistics of norms
    optimizer: Any  # optax's state
    totals: Totals
    taken: Scalar  # int32, updates so far under all plans
    average: Average | None  # None if the run keeps none
    noise: Noise | None = None  # None if the run measures none


class Sums(NamedTuple):
    """A device's sums over the examples of an update so far."""

    gradients: Tree  # of the loss's sum, like State.params
    stats: Tree  # sums over groups, like State.stats
    scores: ScoreSums
    parts: jax.Array | None = None  # see `noise.part`; None if the run measures none


def init(learner: Learner, seed: jax.Array) -> State:
    """Return the initial state from a uint32 seed."""
    key = jax.random.key(seed, impl="threefry2x32")  # whatever JAX's default is
    params, stats = learner.task.init(key, learner.task.prepare(learner.example.zeros(), None))
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = optimizer_of(learner, 0.0).init(params)
    average = None
    if learner.average is not None:
        zero, none = jax.tree.map(jnp.zeros_like, (params, stats))
        average = Average(zero, none, np.zeros((), np.float32))
    measured = no_noise(learner, params, optimizer)
    return State(
        params, stats, optimizer, no_totals(learner), np.zeros((), np.int32), average, measured
    )


def no_noise(learner: Learner, params: Tree, optimizer: Any) -> Noise | None:
    """Return averages of the gradient's noise over no update; None if it is not measured.

    They are on the host, and like the parameters and optax's state.
    """
    if learner.noise_of is None:
        return None
    return noise.nothing(_trained(learner, params), optimizer)


def optimizer_of(learner: Learner, rate: Any, *held: Any) -> optax.GradientTransformation:
    """Return the optax transformation of an update with this rate, and values for `learner.held`.

    Without values it is for the initial state, which does not depend on them.
    """
    values = held or [jnp.float32(0)] * len(learner.held)
    by_name = dict(zip(learner.held, values, strict=True))
    return transformation(learner.optimizer, rate, learner.momentum, learner.frozen, by_name)


def _trained(learner: Learner, tree: Tree) -> list[jax.Array]:
    """Return the arrays of a tree like the parameters, without those that stay as they are."""
    given = {
        path: leaf
        for path, leaf in named(tree)
        if not any(begins(path, frozen) for frozen in learner.frozen)
    }
    moving = moved(learner.optimizer, given)
    return [leaf for path, leaf in given.items() if path in moving]


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
    none = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), _scores(learner))
    return Totals(none, none)


def exact(totals: Totals) -> ScoreSums:
    """Return the scores from totals on the host, in float64."""
    found: ScoreSums = jax.tree.map(
        lambda total, rest: np.float64(total) - np.float64(rest), totals.sums, totals.rest
    )
    return found


def no_sums(learner: Learner, state: State) -> Sums:
    """Return sums over no example."""
    gradients, stats = jax.tree.map(jnp.zeros_like, (state.params, state.stats))
    scores = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _scores(learner))
    parts = None if state.noise is None else noise.no_part(state.noise)
    return Sums(gradients, stats, scores, parts)


@lru_cache(64)
def _scores(learner: Learner) -> ScoreSums:
    """Return the shapes of the scores of a training pass."""
    task = learner.task
    layout = one_group(task.group)

    def scored(seed: jax.Array) -> ScoreSums:
        keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), layout.size)
        params, stats = task.init(keys[0], task.prepare(learner.example.zeros(), None))
        return task.sums(params, stats, Batch(learner.example.zeros(layout.size), keys), layout)[0]

    with jax.enable_x64(False):
        shapes: ScoreSums = jax.eval_shape(scored, jax.ShapeDtypeStruct((), np.uint32))
    return shapes


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
    parts = None
    if state.noise is not None:
        weight = scores["loss"][1]
        trained = _trained(learner, gradients)
        parts = noise.part(layout, state.optimizer, trained, weight)
    return Sums(gradients, stats, scores, parts)


def _loss_sum(
    learner: Learner, layout: Layout, stats: Tree, batch: Batch, params: Tree
) -> tuple[jax.Array, tuple[ScoreSums, Tree]]:
    """Return (sum of losses, (scores, sums of statistics)) of a micro-batch."""
    scores, left = learner.task.sums(params, stats, batch, layout)
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
    examples: jax.Array,
    *held: jax.Array,
) -> tuple[State, jax.Array]:
    """Add up the sums of all devices, then take the optimizer's step: `step`."""
    return step(learner, state, added_up(sums), learning_rate, groups, examples, *held)


def added_up(sums: Sums, in_parts: bool = False) -> Sums:
    """Return the sums over all devices, in one all-reduce (on CPUs, see `whole_sum`).

    With `in_parts`, a device gets its parts of the gradients alone, by reduce-scatters.
    """
    if jax.lax.axis_size(AXIS) == 1:  # XLA would still copy the sums
        return sums
    # As one array: a weight that is a constant would get an all-reduce of its own.
    scalars, unpacked = ravel_pytree((sums.scores, sums.parts))
    if in_parts:
        gradients = jax.tree.map(part_of_sum, sums.gradients)
        stats, scalars = whole_sum((sums.stats, scalars))
    else:
        gradients, stats, scalars = whole_sum((sums.gradients, sums.stats, scalars))
    return Sums(gradients, stats, *unpacked(scalars))


def step(
    learner: Learner,
    state: State,
    sums: Sums,
    learning_rate: jax.Array,
    groups: jax.Array,
    examples: jax.Array,
    *held: jax.Array,
) -> tuple[State, jax.Array]:
    """Take the optimizer's step on the mean gradient of the update, without communication.

    Args:
        learner: what is trained.
        state: the state before the update.
        sums: over all of the update's examples, on all devices.
        learning_rate: float32 scalar.
        groups: float32 scalar, the number of groups over all devices.
        examples: float32 scalar, the batch size.
        held: float32 scalars, the values of `learner.held`.

    Returns:
        The state after the update, and the update's mean loss.
    """
    loss, weight = sums.scores["loss"]
    weight = jnp.where(weight == 0, 1, weight)  # an update that nothing counts in changes nothing
    gradients = jax.tree.map(lambda leaf: leaf / weight.astype(leaf.dtype), sums.gradients)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        optimizer = optimizer_of(learner, learning_rate, *held)
        steps, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, steps)
    stats = learner.task.running(state.stats, sums.stats, groups)
    return State(
        params=params,
        stats=stats,
        optimizer=optimizer_state,
        totals=_added(state.totals, sums.scores),
        taken=state.taken + 1,
        average=_averaged(learner, state.average, params, stats, examples),
        noise=_measured(learner, state, sums, examples),
    ), loss / weight


def _measured(learner: Learner, state: State, sums: Sums, examples: jax.Array) -> Noise | None:
    """Return the averages of the gradient's noise after an update; `state` is before it."""
    if state.noise is None or sums.parts is None or learner.noise_of is None:
        return None
    weight, here = sums.scores["loss"][1], (state.optimizer, _trained(learner, sums.gradients))
    of, before = learner.noise_of, state.taken
    return noise.measured(state.noise, sums.parts, *here, weight, examples, of, before)


def _averaged(
    learner: Learner, average: Average | None, params: Tree, stats: Tree, examples: jax.Array
) -> Average | None:
    """Return the average after an update; a state that is h examples old weighs e⁻¹.

    It is unbiased: the weights of all updates so far sum to 1, so that the initial parameters are
    no part of it.
    """
    if average is None or learner.average is None:
        return None
    new = -jnp.expm1(-examples / jnp.float32(learner.average))  # this update's weight
    weight = average.weight + new * (1 - average.weight)

    def one(old: jax.Array, here: jax.Array) -> jax.Array:
        if not jnp.issubdtype(old.dtype, jnp.floating):
            return here
        moved: jax.Array = old + (here - old) * (new / weight).astype(old.dtype)
        return moved

    mean, state = jax.tree.map(one, (average.params, average.stats), (params, stats))
    return Average(mean, state, weight)


def evaluated(learner: Learner, state: State) -> dict[str, tuple[Tree, Tree]]:
    """Return what to evaluate: prefix of the scores' names → (parameters, state of the task).

    Before the first update, the average is the parameters.
    """
    params = learner.task.evaluated(state.params, state.optimizer)
    found = {"": (params, state.stats)}
    if state.average is not None:
        begun = state.average.weight > 0
        found["average_"] = jax.tree.map(
            lambda average, now: jnp.where(begun, average, now),
            (state.average.params, state.average.stats),
            (params, state.stats),
        )
    return found


def _added(totals: Totals, scores: ScoreSums) -> Totals:
    """Return the totals plus one update."""
    parts = jax.tree.map(jnp.subtract, scores, totals.rest)
    sums = jax.tree.map(jnp.add, totals.sums, parts)
    rest = jax.tree.map(lambda new, old, part: (new - old) - part, sums, totals.sums, parts)
    return Totals(sums, rest)
