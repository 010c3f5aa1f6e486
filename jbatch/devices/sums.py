"""Sums over the devices."""

from functools import partial
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from jbatch.plan.layout import AXIS

SMALL = 2**17  # numbers: two CPU devices copy so many in the time of one rendezvous


def whole_sum(tree: Any) -> Any:
    """Return the sum of a tree's arrays over all devices, in a function for one device.

    Accelerators add up all arrays in one all-reduce. The devices of a CPU wait for each other (a
    rendezvous) for each array of an all-reduce, about 40 µs each on an idle machine. So small
    arrays become one before it.
    """
    return jax.lax.platform_dependent(
        tree, cpu=_joined, default=partial(jax.lax.psum, axis_name=AXIS)
    )


def _joined(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    together: dict[Any, list[int]] = {}
    for number, leaf in enumerate(leaves):
        together.setdefault(leaf.dtype if leaf.size <= SMALL else number, []).append(number)
    for numbers in together.values():
        flat, split = ravel_pytree([leaves[number] for number in numbers])
        for number, leaf in zip(numbers, split(jax.lax.psum(flat, AXIS)), strict=True):
            leaves[number] = leaf
    return jax.tree.unflatten(structure, leaves)
