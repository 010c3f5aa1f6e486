"""Parts of arrays that are split over the devices along one of their axes."""

import math
from typing import Any, Literal

import jax
from jax.sharding import PartitionSpec

from jbatch.plan.layout import AXIS

OptimizerState = Literal["replicated", "sharded"]

WHOLE = PartitionSpec()  # of an array that every device holds
LEAST = 1024  # numbers; parts of a smaller array would save nothing, and cost a collective each


def split_axis(shape: tuple[int, ...], devices: int) -> int | None:
    """Return the axis along which an array is split: the first that the devices divide evenly.

    None for an array that stays whole, because it is small or no axis divides.
    """
    if math.prod(shape) < LEAST or devices == 1:
        return None
    return next((axis for axis, length in enumerate(shape) if length % devices == 0), None)


def spec(leaf: Any, devices: int) -> PartitionSpec:
    """Return where an array's parts lie; `WHOLE` if it is not split."""
    axis = split_axis(leaf.shape, devices)
    return WHOLE if axis is None else PartitionSpec(*(None,) * axis, AXIS)


def share(leaf: Any, at: PartitionSpec, devices: int) -> int:
    """Return the bytes of an array that one device holds."""
    whole: int = leaf.size * leaf.dtype.itemsize
    return whole if at == WHOLE else whole // devices


def part_of_sum(leaf: jax.Array) -> jax.Array:
    """Return this device's part of the sum of an array over all devices; the sum, if it is small.

    The other devices keep the other parts. It is called in a function for one device.
    """
    axis = split_axis(leaf.shape, jax.lax.axis_size(AXIS))
    if axis is None:
        summed: jax.Array = jax.lax.psum(leaf, AXIS)
        return summed
    part: jax.Array = jax.lax.psum_scatter(leaf, AXIS, scatter_dimension=axis, tiled=True)
    return part
