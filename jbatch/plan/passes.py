"""Cut the updates of each phase into passes."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from jbatch.errors import Mistake
from jbatch.plan.layout import Layout, group_size
from jbatch.plan.plan import Plan

# Each shape costs a compilation, so a plan of hundreds of batch sizes shares a few shapes.
MOST_SHAPES = 8


@dataclass(frozen=True)
class Update:
    """A call for a whole update: one pass and the optimizer's step."""

    layout: Layout


@dataclass(frozen=True)
class Halves:
    """A call for a whole update of one pass on one device, which sees two parts of it.

    The noise of a gradient shows between parts, and such an update has none.
    """

    layout: Layout

    @property
    def layouts(self) -> tuple[Layout, Layout]:
        """The layout of each part, of whole groups."""
        size, group = self.layout.size, self.layout.group
        first = self.layout.groups // 2 * group
        return Layout(first, 1, group), Layout(size - first, 1, group)


@dataclass(frozen=True)
class Accumulate:
    """A call for one pass of an update that has several."""

    layout: Layout


@dataclass(frozen=True)
class Apply:
    """The call that ends an update of several passes: the optimizer's step."""


Pass = Update | Accumulate
Call = Pass | Halves | Apply


@dataclass(frozen=True)
class Passes:
    """The passes of an update, in the order of its examples: one Update, or Accumulates."""

    calls: tuple[Pass, ...]

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layout of each pass."""
        return tuple(call.layout for call in self.calls)

    def placed(self, position: int) -> Iterator[tuple[int, Layout]]:
        """Yield (position, layout) of each pass of an update that starts at `position`."""
        for start, layout, _ in self.in_calls(position, most=1):
            yield start, layout

    def in_calls(self, position: int, most: int) -> Iterator[tuple[int, Layout, int]]:
        """Yield (position, layout, count) of each call of an update that starts at `position`.

        A call takes `count` equal passes that follow one another, at most `most`.
        """
        for layout, equal in groupby(self.layouts):
            left = len(list(equal))
            while left:
                count = min(left, most)
                yield position, layout, count
                position, left = position + count * layout.size, left - count

    @property
    def whole(self) -> bool:
        """Whether an update is one call."""
        return isinstance(self.calls[0], Update)

    @property
    def halves(self) -> Halves | None:
        """The call that sees two parts of an update of one; None for updates with several."""
        [layout] = self.layouts if self.whole else [None]
        if layout is None or layout.devices > 1 or layout.groups < 2:
            return None
        return Halves(layout)

    @property
    def measurable(self) -> bool:
        """Whether an update has parts to measure the gradient's noise from, or halves."""
        if any(layout.span > 1 for layout in self.layouts):
            return False  # the devices that share a group are no parts
        several = len(self.calls) > 1 or self.layouts[0].devices > 1
        return several or self.halves is not None

    @property
    def program(self) -> tuple[Call, ...]:
        """All calls of an update, in order."""
        return self.calls if self.whole else (*self.calls, Apply())


def passes_of(
    plan: Plan, passes: Mapping[int, Passes], update: int
) -> Iterator[tuple[int, Layout]]:
    """Yield (position, layout) of each pass of a run, from `update` on.

    Args:
        plan: the run's plan.
        passes: the passes of each batch size.
        update: the first update, 0 ≤ update ≤ num_updates.
    """
    for row in map(plan.at, range(update, plan.num_updates)):
        yield from passes[row.batch_size].placed(row.position)


def cut(
    batch_sizes: Iterable[int], devices: int, ghost_batch: int | None, limit: int | None
) -> dict[int, Passes]:
    """Cut each batch size into passes over all devices.

    If a device's share of the batch is within `limit`, the batch is one pass. A larger batch is cut
    into the largest equal parts of whole ghost batches. If that needs more than `MOST_SHAPES`
    different passes, updates are composed of a few sizes, each twice the one before, the largest
    first.

    Args:
        batch_sizes: B of each phase, over all devices; each must divide (`Plan.check`).
        devices: D.
        ghost_batch: g; None without batch norm.
        limit: maximum examples per device in one pass; None for no limit.

    Raises:
        Mistake: if a limit is too small for a ghost batch, or the sizes have too little in common.
    """
    sizes = sorted(set(batch_sizes))
    parts = {size: _largest_part(size, devices, ghost_batch, limit) for size in sizes}
    passes = {size: [part] * (size // part) for size, part in parts.items()}
    if len(set(parts.values())) > MOST_SHAPES:
        # A batch below the ghost batch is one group, so it cannot be composed of smaller passes.
        whole = {size for size in sizes if size % (ghost_batch or 1) == 0}
        shapes = MOST_SHAPES - len({parts[size] for size in sizes if size not in whole})
        if shapes < 1:
            raise Mistake(
                f"{len(sizes) - len(whole)} of the plan's batch sizes are under the ghost batch of "
                f"{ghost_batch:,}, and each needs a compilation of its own; the limit is "
                f"{MOST_SHAPES - 1}: make ghost_batch smaller, or grow the batch in fewer steps"
            )
        most = math.inf if limit is None else limit * devices
        unit = _largest_part(math.gcd(*whole), devices, ghost_batch, limit)
        grid = [unit * 2**power for power in range(shapes) if unit * 2**power <= most]
        passes |= {size: list(_composed(size, grid)) for size in whole}
    few = len(set(parts.values())) <= MOST_SHAPES
    made = {}
    for size, sizes_of_passes in passes.items():
        kind = Update if few and len(sizes_of_passes) == 1 else Accumulate
        group = group_size(size, ghost_batch)
        made[size] = Passes(tuple(kind(Layout(part, devices, group)) for part in sizes_of_passes))
    return made


def fewest_per_device(size: int, devices: int, ghost_batch: int | None) -> int:
    """Return the examples per device of the smallest pass: of whole groups, the same on each."""
    return math.lcm(group_size(size, ghost_batch), devices) // devices


def _composed(size: int, grid: list[int]) -> Iterator[int]:
    for part in reversed(grid):
        count, size = divmod(size, part)
        yield from [part] * count


def _largest_part(size: int, devices: int, ghost_batch: int | None, limit: int | None) -> int:
    """Find the largest pass within the limit that divides `size`."""
    unit = devices * fewest_per_device(size, devices, ghost_batch)
    most = size if limit is None else min(size, limit * devices)
    counts = range(most // unit, 0, -1)
    part = next((unit * count for count in counts if size % (unit * count) == 0), None)
    if part is None:
        raise Mistake(
            f"micro_batch {limit:,} is under {unit // devices:,}, the fewest examples per device "
            f"that split batch {size:,} into whole ghost batches: give at least {unit // devices:,}"
        )
    return part
