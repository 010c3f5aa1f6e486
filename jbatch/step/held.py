"""Count what a device's memory holds during an update, without compiling; in bytes."""

from typing import Any

import jax
from jax.extend.core import Literal

from jbatch.devices import parts
from jbatch.plan.layout import AXIS, Layout
from jbatch.plan.passes import Accumulate, Pass
from jbatch.step import programs, pure
from jbatch.step.programs import Setup
from jbatch.step.pure import State


def in_memory(setup: Setup, layout: Layout) -> dict[str, int]:
    """Return the bytes that a device holds during an update.

    Args:
        setup: task, inputs and mesh; the mesh may be abstract.
        layout: the layout of the largest pass.

    Returns:
        Bytes by name. "activations" are all residuals of the backward pass; a compiler may
        recompute some, or keep copies.
    """
    state = pure.state_shapes(setup.learner)
    inputs = setup.inputs.shapes(layout)
    shares = [
        _bytes(shape) // (layout.devices if differs else 1)
        for shape, differs in zip(inputs, setup.inputs.per_device, strict=True)
    ]
    local = [
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shape)
        if differs
        else shape
        for shape, differs in zip(inputs, setup.inputs.per_device, strict=True)
    ]

    def activations(state: State, *inputs: Any) -> Any:
        return pure.kept(setup.learner, layout, state, setup.inputs.batch(layout, *inputs))

    axes = [(AXIS, layout.devices)]
    with jax.enable_x64(False):
        traced = jax.make_jaxpr(activations, axis_env=axes)(state, *local).jaxpr
    given = set(traced.invars)
    made = {var for var in traced.outvars if not isinstance(var, Literal) and var not in given}
    return {
        **of_state(setup),
        "activations": sum(_bytes(var.aval) for var in made),
        "data": sum(shares) + setup.inputs.held(layout),
    }


def of_state(setup: Setup) -> dict[str, int]:
    """Return the bytes that a device holds of the state and of the gradients, by name."""
    state, places = pure.state_shapes(setup.learner), programs.places(setup)
    return {
        "parameters": _bytes(state.params),
        "optimizer state": _share(
            setup, (state.optimizer, state.average), (places.optimizer, places.average)
        ),
        "statistics": _bytes(state.stats),
        "gradients and sums": _bytes((state.params, state.stats)),
    }


def beside(setup: Setup, call: Pass) -> int:
    """Return the bytes that a device holds while a pass runs, beside the pass's arguments.

    A pass that accumulates does not take the state that only the end of an update needs. Where it
    measures noise, it takes Adam's second moments, and these count twice.
    """
    held = setup.inputs.held(call.layout)
    if not isinstance(call, Accumulate):
        return held
    state, places = pure.state_shapes(setup.learner), programs.places(setup)
    rest, there = (
        (each.optimizer, each.stats, each.totals, each.taken, each.average)
        for each in (state, places)
    )
    return held + _share(setup, rest, there)


def _share(setup: Setup, tree: Any, places: Any) -> int:
    shares = jax.tree.map(lambda leaf, at: parts.share(leaf, at, setup.devices), tree, places)
    return sum(jax.tree.leaves(shares))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
