"""Updates whose optimizer state is split over the devices.

This is the first stage of ZeRO (Rajbhandari et al., arXiv 1910.02054). Each device holds a part of
the optimizer's state and of the average of the parameters. Gradients are added up by
reduce-scatters, each device takes the optimizer's step on its parts, and an all-gather makes the
parameters whole again.

The step is the one of `pure`, on whole arrays, and the compiler splits it by where they lie. So an
optimizer that needs more than single numbers (a layer's norm, the norm of all gradients, a whole
matrix) is right without code of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jbatch.devices import parts
from jbatch.devices.parts import WHOLE
from jbatch.devices.spmd import on_each, placed
from jbatch.plan.layout import Layout
from jbatch.step import pure
from jbatch.step.pure import State, Sums

if TYPE_CHECKING:
    from jbatch.step.programs import Setup


def places(state: State, devices: int) -> State:
    """Return where the arrays of a state lie, as PartitionSpecs."""
    found: State = jax.tree.map(lambda _: WHOLE, state)
    found = found._replace(optimizer=_in_parts(state.optimizer, devices))
    if state.average is None or found.average is None:
        return found
    average = found.average._replace(params=_in_parts(state.average.params, devices))
    return found._replace(average=average)


def update(
    setup: "Setup", layout: Layout, state: State, how: jax.Array, *inputs: Any
) -> tuple[State, jax.Array]:
    """Take an update of one pass."""

    def gathered(seen: State, *inputs: Any) -> tuple[Sums]:
        batch = setup.inputs.batch(layout, *inputs)
        return (pure.added_up(pure.gather(setup.learner, layout, seen, batch), in_parts=True),)

    per_device = (False, *setup.inputs.per_device)
    gather = on_each(gathered, setup.mesh, per_device, (_of_sums(setup, state),))
    [sums] = gather(_seen(state), *inputs)
    return _step(setup, state, sums, how)


def accumulate(
    setup: "Setup",
    add: Callable[..., tuple[Sums, jax.Array]],
    state: State,
    sums: Sums,
    count: jax.Array,
    *inputs: Any,
) -> tuple[Sums, jax.Array]:
    """Add `count` passes to each device's sums, as `add` does on one."""
    per_device = (False, True, False, *setup.inputs.per_device)
    everywhere = on_each(add, setup.mesh, per_device, (True, True))
    sums, loss = everywhere(_seen(state), sums, count, *inputs)
    return sums, loss


def apply(
    setup: "Setup", state: State, sums: Sums, how: jax.Array
) -> tuple[State, Sums, jax.Array]:
    """Take the optimizer's step on each device's sums."""

    def added_up(sums: Sums) -> tuple[Sums]:
        return (pure.added_up(sums, in_parts=True),)

    [summed] = on_each(added_up, setup.mesh, (True,), (_of_sums(setup, state),))(sums)
    state, loss = _step(setup, state, summed, how)
    return state, jax.tree.map(jnp.zeros_like, sums), loss


def _step(setup: "Setup", state: State, sums: Sums, how: jax.Array) -> tuple[State, jax.Array]:
    """Take the optimizer's step; only its results make the parameters whole again."""
    lie = partial(placed, setup.mesh)
    here, of_params = places(state, setup.devices), _in_parts(state.params, setup.devices)
    before = state._replace(params=lie(state.params, of_params))
    after, loss = pure.step(setup.learner, before, sums, *how)
    after = after._replace(params=lie(after.params, of_params))
    whole: State = lie(after, here)
    return whole, loss


def _seen(state: State) -> State:
    """Return what a pass reads of a state. Adam's metric of the noise reads all of the optimizer's.

    The compiler gathers what lies in parts.
    """
    return state._replace(optimizer=None if state.noise is None else state.optimizer, average=None)


def _of_sums(setup: "Setup", state: State) -> Sums:
    """Return where sums over all devices lie."""
    whole: Any = WHOLE  # all arrays of a part of the sums lie alike
    noise = None if state.noise is None else whole
    return Sums(_in_parts(state.params, setup.devices), whole, whole, noise)


def _in_parts(tree: Any, devices: int) -> Any:
    return jax.tree.map(partial(parts.spec, devices=devices), tree)
