"""Which examples of a batch go to which device, so that ghost batches do not depend on the split.

Groups are fixed by place in the update: [0, g), [g, 2g), …; one group if B ≤ g. With n groups on D
devices, each block of s = D/gcd(D, n) neighbouring devices holds n·s/D consecutive groups, g/s
examples of each on every device. s = 1 is the plain case of whole groups on each device; a net
without batch norm has groups of one example, and every device a run of neighbouring places.
"""

import math
from dataclasses import dataclass

import numpy as np

AXIS = "devices"  # the mesh axis over which every update is split


@dataclass(frozen=True)
class Layout:
    """How one pass over all devices is shared out; D divides the size, and so does the group."""

    size: int  # examples in the pass, over all devices
    devices: int  # D
    group: int  # g, or the whole update if that is smaller

    @property
    def per_device(self) -> int:
        """Examples one device puts through, the micro-batch."""
        return self.size // self.devices

    @property
    def groups(self) -> int:
        """n, ghost batches in the pass."""
        return self.size // self.group

    @property
    def span(self) -> int:
        """s, neighbouring devices that share a ghost batch."""
        return self.devices // math.gcd(self.devices, self.groups)

    @property
    def groups_per_device(self) -> int:
        """Ghost batches of which a device holds examples."""
        return self.groups * self.span // self.devices

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The devices of each block, for collectives within it."""
        starts = range(0, self.devices, self.span)
        return tuple(tuple(range(start, start + self.span)) for start in starts)

    def places(self, device):
        """Places within the pass that `device` holds, ghost batch by ghost batch.

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
    """Why `size` examples cannot be shared by `devices` in ghost batches, or None if they can."""
    if size % devices:
        return f"does not divide over {devices:,} devices"
    group = group_size(size, ghost_batch)
    # With D dividing n·g, s = D/gcd(D, n) divides g: there is nothing more to refuse.
    if size % group:
        return f"is not made of whole ghost batches of {group:,}"
    return None


def nearest_batch_sizes(
    size: int, devices: int, ghost_batch: int | None, limit: int
) -> tuple[int, ...]:
    """The nearest possible batch sizes below and above `size`, as far as there are any ≤ limit."""
    below = range(size - size % devices, 0, -devices)
    above = range(size - size % devices + devices, limit + 1, devices)
    found = (
        next((near for near in side if why_not(near, devices, ghost_batch) is None), None)
        for side in (below, above)
    )
    return tuple(near for near in found if near is not None)


def group_size(batch_size: int, ghost_batch: int | None) -> int:
    """Examples that share statistics in an update of `batch_size`; 1 without batch norm."""
    return 1 if ghost_batch is None else min(ghost_batch, batch_size)
