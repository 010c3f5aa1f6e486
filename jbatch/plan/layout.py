"""Share the examples of a batch among devices, so that ghost batches do not depend on the split.

A group is fixed by its place in the update: [0, g), [g, 2g), … If B ≤ g there is one group. With n
groups on D devices, each block of s = D/gcd(D, n) neighbouring devices holds n·s/D consecutive
groups, g/s examples of each on every device. With s = 1 every device holds whole groups. Without
batch norm a group is one example, and every device holds neighbouring places.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import jax

AXIS = "devices"  # the mesh axis over which every update is split


@dataclass(frozen=True)
class Layout:
    """How one pass is shared among all devices; D and the group each divide the size."""

    size: int  # examples in the pass, over all devices
    devices: int  # D
    group: int  # g, or the whole update if that is smaller

    @property
    def per_device(self) -> int:
        """The micro-batch: examples of the pass on one device."""
        return self.size // self.devices

    @property
    def groups(self) -> int:
        """n: number of ghost batches in the pass."""
        return self.size // self.group

    @property
    def span(self) -> int:
        """s: number of neighbouring devices that share a ghost batch."""
        return self.devices // math.gcd(self.devices, self.groups)

    @property
    def groups_per_device(self) -> int:
        """Number of ghost batches with examples on one device."""
        return self.groups * self.span // self.devices

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The devices of each block, for collectives within a block."""
        starts = range(0, self.devices, self.span)
        return tuple(tuple(range(start, start + self.span)) for start in starts)

    @overload
    def places(self, device: int) -> npt.NDArray[np.int32]: ...
    @overload
    def places(self, device: "jax.Array") -> "jax.Array": ...
    def places(self, device: Any) -> Any:
        """Return the places within the pass that `device` holds, ordered by ghost batch.

        Args:
            device: index along the mesh, an int or a traced int32.

        Returns:
            int32 array of shape (per_device,).
        """
        share = self.group // self.span  # examples of one group on one device
        local = np.arange(self.per_device, dtype=np.int32)
        within = local // share * self.group + local % share
        block_start = device // self.span * (self.groups_per_device * self.group)
        return block_start + device % self.span * share + within


def why_not(size: int, devices: int, ghost_batch: int | None) -> str | None:
    """Say why `devices` cannot share `size` examples in ghost batches; None if they can."""
    if size % devices:
        return f"does not divide over {devices:,} devices"
    group = group_size(size, ghost_batch)
    # If D divides n·g, then s = D/gcd(D, n) divides g, so no further check is needed.
    if size % group:
        return f"is not made of whole ghost batches of {group:,}"
    return None


def nearest_batch_sizes(
    size: int, devices: int, ghost_batch: int | None, limit: int
) -> tuple[int, ...]:
    """Return the nearest possible batch sizes below and above `size`, up to `limit`."""
    below = range(size - size % devices, 0, -devices)
    above = range(size - size % devices + devices, limit + 1, devices)
    found = (
        next((near for near in side if why_not(near, devices, ghost_batch) is None), None)
        for side in (below, above)
    )
    return tuple(near for near in found if near is not None)


def one_group(group: int | None) -> Layout:
    """Return the layout of one ghost batch on one device; of one example, without batch norm."""
    size = group or 1
    return Layout(size, 1, size)


def group_size(batch_size: int, ghost_batch: int | None) -> int:
    """Return how many examples share statistics in an update; 1 without batch norm."""
    return 1 if ghost_batch is None else min(ghost_batch, batch_size)
