"""Batch sizes that a run has decided while it trained, as a plan looks them up."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, shown, whole
from jbatch.plan.walk import SizeAt

Growths = tuple[tuple[int, int], ...]  # (examples seen, batch size from there on), ascending
MOST_SIZES = 64  # among which a run decides; the passes of each are compiled ahead


@dataclass(frozen=True)
class Decided:
    """What a run has decided so far."""

    allowed: tuple[int, ...]  # the batch sizes it chooses from, ascending
    sizes: Growths  # from 0 examples on
    begun: str | None = None  # digest of the plan before any decision; None: this is that plan


def read_decided(
    decided: Mapping[int, int], allowed: npt.NDArray[np.int64], conflicts: Mapping[str, bool]
) -> Decided:
    """Check decisions.

    Args:
        decided: examples seen → batch size from there on.
        allowed: the plan's sizes, (sizes,) int64, ascending.
        conflicts: what else would set the sizes → whether it is given.

    Raises:
        Mistake: if the sizes are not allowed, do not ascend or do not start at 0, or something else
            sets them too.
    """
    if given := [name for name, there in conflicts.items() if there]:
        raise Mistake(
            f"a run decides when its batch grows, and {' and '.join(given)} would too: leave it out"
        )
    if len(allowed) < 2 or len(allowed) > MOST_SIZES:
        raise Mistake(
            f"a run that decides when its batch grows chooses among 2 to {MOST_SIZES} sizes, and "
            f"the plan allows {len(allowed):,}: give growth_factor, batch_sizes or batch_multiple, "
            "and max_batch_size"
        )
    if not isinstance(decided, Mapping):
        raise Mistake(f"decided is {shown(decided)}: give a dict of examples seen → batch size")
    starts = sorted(whole("an example count of decided", start, least=0) for start in decided)
    sizes = [whole(f"decided at {start:,} examples", decided[start]) for start in starts]
    if not starts or starts[0] != 0 or sizes[0] != allowed[0]:
        raise Mistake(
            f"decided {shown(dict(decided))} does not start with 0 and batch_size {allowed[0]:,}: "
            f"let it start with 0: {allowed[0]}"
        )
    if any(later <= earlier for earlier, later in itertools.pairwise(sizes)):
        raise Mistake(f"decided {shown(dict(decided))} does not ascend: give sizes that grow")
    if odd := [size for size in sizes if size not in allowed]:
        known = ", ".join(f"{size:,}" for size in allowed)
        raise Mistake(f"decided has batch {odd[0]:,}, and the plan allows {known}: use these")
    return Decided(tuple(allowed.tolist()), tuple(zip(starts, sizes, strict=True)))


class Unreached(Mistake):
    """A decided size that no update takes."""


def check_reached(decided: Decided, taken: npt.NDArray[np.int64]) -> None:
    """Raise Unreached if a decided size is that of no update; `taken` are theirs, (updates,)."""
    for start, size in decided.sizes:
        if size not in taken:
            raise Unreached(
                f"decided has batch {size:,} from {start:,} examples on, which no update takes: "
                "the run ends, or a larger size follows, before one begins. Leave that size out"
            )


def as_decided(decided: Decided) -> SizeAt:
    """Make the function (positions, values in the unit, decay s) → the decided size."""
    starts, sizes = (np.array(column, np.int64) for column in zip(*decided.sizes, strict=True))

    def size_at(
        positions: npt.NDArray[np.int64],
        _: npt.NDArray[np.float64],
        __: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = sizes[np.searchsorted(starts, positions, side="right") - 1]
        return found

    return size_at
