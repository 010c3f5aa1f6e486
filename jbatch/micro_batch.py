"""How many examples a device puts through one pass, in each phase of a plan."""

import math
from collections.abc import Iterable

from jbatch.errors import Mistake
from jbatch.layout import Layout, group_size

# Each shape is a compilation; a plan of hundreds of batch sizes shares a few.
MOST_SHAPES = 8


def pass_layouts(
    batch_sizes: Iterable[int], devices: int, ghost_batch: int | None, limit: int | None
) -> dict[int, Layout]:
    """For each batch size, the layout of one pass over all devices: a whole part of the update.

    A pass takes the whole batch if its share of one device is within `limit`, and else the largest
    part that divides it into whole ghost batches. Where this makes more than `MOST_SHAPES`
    different passes, they come from the powers of two of the smallest that serves all sizes.

    Args:
        batch_sizes: B of each phase, over all devices; each must divide (`Plan.check`).
        devices: D.
        ghost_batch: g; None without batch norm.
        limit: most examples a device takes in one pass; None for no limit.

    Raises:
        Mistake: if a limit is too small for a ghost batch.
    """
    sizes = sorted(set(batch_sizes))
    parts = {size: _parts(size, devices, ghost_batch, limit) for size in sizes}
    chosen = {size: parts[size][-1] for size in sizes}
    if len(set(chosen.values())) > MOST_SHAPES:
        shared = set.intersection(*map(set, parts.values()))
        if not shared:
            raise Mistake(
                f"the plan's {len(sizes)} batch sizes share no micro-batch: make them multiples of "
                "one size (batch_multiple)"
            )
        grid = {max(shared) * 2**power for power in range(MOST_SHAPES)}
        chosen = {size: max(grid.intersection(parts[size])) for size in sizes}
    return {
        size: Layout(part, devices, group_size(size, ghost_batch)) for size, part in chosen.items()
    }


def _parts(size: int, devices: int, ghost_batch: int | None, limit: int | None) -> list[int]:
    """Ascending sizes of a pass over all devices that `size` can be made of."""
    # A pass holds whole groups and an equal share for each device.
    unit = math.lcm(group_size(size, ghost_batch), devices)
    most = size if limit is None else min(size, limit * devices)
    parts = [unit * count for count in range(1, most // unit + 1) if size % (unit * count) == 0]
    if not parts:
        raise Mistake(
            f"micro_batch {limit:,} is under {unit // devices:,}, the least that a device can take "
            f"of batch {size:,} in whole ghost batches: give at least {unit // devices:,}"
        )
    return parts
