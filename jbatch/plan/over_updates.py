"""Find a schedule that counts updates in a plan that counts epochs."""

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake
from jbatch.plan.measure import Measure
from jbatch.plan.walk import SHORT, Reader

MOST_STAIRS = 60  # a schedule may step each epoch, or twice; more and shorter steps are updates
MOST_EPOCHS = 1000  # of a schedule over epochs, which a shorter run may cut short
JUMP = 1e-6  # of the peak; smaller changes are rounding


def over_updates(
    read: Reader,
    positions: npt.NDArray[np.int64],
    rates: npt.NDArray[np.float64],
    measure: Measure,
    length: float,
) -> str | None:
    """Say why a schedule seems to be over updates, not over epochs; None if it does not.

    Args:
        read: the schedule.
        positions: of every update, (updates,) int64.
        rates: of the schedule at every update, (updates,) float64.
        measure: the plan's unit.
        length: of the schedule, in the unit.
    """
    if measure.unit != "epochs" or measure.num_examples is None:
        return None
    if (stair := _stair(positions, rates)) is not None and stair <= measure.num_examples / 10:
        return (
            f"the schedule is a staircase with a step every {stair:,} examples, as if it counted "
            f'updates: give it as it is, over updates, with unit="updates" and base_batch_size='
            f"{stair}"
        )
    updates = int(length * (measure.num_examples // measure.base))
    if updates > max(MOST_EPOCHS, 10 * length) and _moves_over(read, rates, updates):
        return (
            f"the schedule barely moves within the run's {measure.amount(length)}, and does within "
            f"its {updates:,} updates, so it seems to count updates: give "
            f'unit="updates" and length={updates} in place of num_epochs'
        )
    return None


def _stair(positions: npt.NDArray[np.int64], rates: npt.NDArray[np.float64]) -> int | None:
    """Return the examples of a stair if the rate changes in many equal stairs, else None."""
    jumps = np.flatnonzero(np.abs(np.diff(rates)) > JUMP * rates.max()) + 1
    if len(jumps) <= MOST_STAIRS:
        return None
    steps = np.diff(positions[jumps])
    typical, update = np.median(steps), np.median(np.diff(positions))
    if typical < 2 * update or np.mean(np.abs(steps - typical) <= update) < 0.9:
        return None
    return round(float(steps.mean()))


def _moves_over(read: Reader, rates: npt.NDArray[np.float64], updates: int) -> bool:
    """Return whether the schedule is still at its beginning, and moves all through `updates`."""
    peak = rates.max()
    flat = rates.min() >= 0.95 * peak
    warming = rates[-1] == peak and np.all(np.diff(rates) >= 0)
    if not (flat or warming):
        return False
    try:
        longer = read(np.linspace(0, updates, SHORT), peak)
    except Mistake:  # it ends before
        return False
    whole, later = longer.max(), longer[SHORT // 2 :]
    moves = longer.min() < 0.5 * whole if flat else whole > 2 * peak
    return bool(moves and np.ptp(later) > 0.05 * whole)
