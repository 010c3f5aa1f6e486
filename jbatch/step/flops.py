"""Count the FLOPs of a pass by the shapes of its products.

The compiler's own count takes the body of a loop once, and convolutions on CPUs are loops. It also
counts what a method such as Winograd's computes, and not what the network asks for.
"""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from jbatch.data.batch import Batch
from jbatch.models import dense
from jbatch.models.conv import primitives
from jbatch.plan.layout import AXIS, Layout, one_group
from jbatch.step import pure
from jbatch.task.base import Learner

CONVOLUTIONS = (primitives.convolution, primitives.input_gradient, primitives.kernel_gradient)
STOCK = "conv_general_dilated"
MOST_KEPT = 64


def of_example(learner: Learner) -> float:
    """Return the FLOPs of an example in a training pass."""
    layout = one_group(learner.task.group)
    return of_pass(learner, layout) / layout.size


def of_pass(learner: Learner, layout: Layout) -> int:
    """Return the FLOPs of a device's forward and backward pass in products and convolutions."""
    return _of(learner, layout).flops


def convolutions(learner: Learner) -> bool:
    """Return whether a training pass has convolutions: jbatch's, or XLA's own."""
    known = {STOCK, *(primitive.name for primitive in CONVOLUTIONS)}
    return not known.isdisjoint(_names(learner))


def stock_convolutions(learner: Learner) -> bool:
    """Return whether a training pass has convolutions of XLA's own, anywhere."""
    return STOCK in _names(learner)


def _names(learner: Learner) -> frozenset[str]:
    return _of(learner, one_group(learner.task.group)).names


class Operations(NamedTuple):
    """What is known of a device's forward and backward pass."""

    flops: int
    names: frozenset[str]  # of its operations


@lru_cache(MOST_KEPT)
def _of(learner: Learner, layout: Layout) -> Operations:
    """Trace a pass: it takes as long as the network's own code."""

    def gathered(state: pure.State) -> Any:
        keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), layout.per_device)
        batch = Batch(learner.example.zeros(layout.per_device), keys)
        return pure.gather(learner, layout, state, batch)

    axes = [(AXIS, layout.devices)]
    with jax.enable_x64(False):
        traced = jax.make_jaxpr(gathered, axis_env=axes)(pure.state_shapes(learner)).jaxpr
    names = frozenset(equation.primitive.name for equation in _all(traced))
    return Operations(_counted(traced), names)


def _all(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Yield the operations of a program, and of those that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for called in _inner(equation.params.values()):
            yield from _all(called)


def _counted(jaxpr: Jaxpr) -> int:
    return sum(map(_flops, jaxpr.eqns))


def _flops(equation: JaxprEqn) -> int:
    arrays: list[Any] = [*equation.invars, *equation.outvars]
    if equation.primitive in dense.PRODUCTS:
        sizes = math.prod(array.aval.size for array in arrays)  # of (R, C), (C, K) and (R, K)
        return 2 * math.isqrt(sizes)
    if equation.primitive in CONVOLUTIONS:
        # Two operands and the result are the images, the kernel and the output, in some order. What
        # the kernel lacks is the number of examples; each of N, C and K stands in two of three.
        geometry = equation.params["geometry"]
        sizes = math.prod(array.aval.size for array in arrays)  # (N C K)² and pixels of all
        pixels = math.prod(geometry.image) * math.prod(geometry.output) * math.prod(geometry.size)
        channels = math.isqrt(sizes // pixels)  # N · C · K
        return int(2 * channels * math.prod(geometry.output) * math.prod(geometry.size))
    if equation.primitive.name == "dot_general":
        (_, contracted), _ = equation.params["dimension_numbers"]
        shape = arrays[1].aval.shape
        return int(2 * arrays[2].aval.size * math.prod(shape[axis] for axis in contracted))
    if equation.primitive.name == STOCK:
        kernel, outputs = arrays[1].aval, equation.params["dimension_numbers"].rhs_spec[0]
        terms = kernel.size // kernel.shape[outputs]
        zeros_between = math.prod(equation.params["lhs_dilation"])
        return int(2 * arrays[2].aval.size * terms // zeros_between)
    if equation.primitive.name == "cond":
        counts = [_counted(branch.jaxpr) for branch in equation.params["branches"]]
        # The last of those that a platform chooses is what a network asks for; else one is taken.
        return counts[-1] if equation.params.get("branches_platforms") else max(counts)
    times = equation.params["length"] if equation.primitive.name == "scan" else 1
    return times * sum(map(_counted, _inner(equation.params.values())))


def _inner(values: Iterable[Any]) -> list[Jaxpr]:
    """Return the programs that an operation calls."""
    found = []
    for value in values:
        match value:
            case ClosedJaxpr():
                found.append(value.jaxpr)
            case Jaxpr():
                found.append(value)
            case tuple() | list():
                found += _inner(value)
    return found
