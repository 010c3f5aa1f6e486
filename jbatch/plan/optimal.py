"""The batch that suits a rate best: B ∝ ε/√R, with R the sum of the rates to come."""

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake
from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY
from jbatch.plan.walk import SizeAt


def check_optimal(scaling: float, growth: float, by_hand: bool, grows: bool) -> None:
    """Raise Mistake if the rule has no sense with a plan's other arguments."""
    if scaling:
        raise Mistake(
            f"growth_rule is optimal and scaling is {scaling:g}: this rule takes the schedule as "
            "the rate itself; give scaling=0"
        )
    if growth != 1:
        raise Mistake(
            f"growth_rule is optimal and growth is {growth:g}: growth is of the paper's rule; "
            "leave it at 1"
        )
    if by_hand or not grows:
        raise Mistake(
            "growth_rule is optimal, which chooses among allowed sizes: give growth_factor, "
            "batch_sizes or batch_multiple" + (", and no ramp" if by_hand else "")
        )


def by_rates_to_come(sizes: npt.NDArray[np.int64], length: float) -> SizeAt:
    """Make the function (positions, values, decay s) → largest size ≤ B0 · s/(1 − x/X).

    Over examples x of X, B ∝ ε/√R means this, because R falls by ε/B for each example
    (docs/theory.md).

    Args:
        sizes: allowed sizes, ascending from B0.
        length: of the run, in the unit of the schedule.
    """

    def size_at(
        _: npt.NDArray[np.int64], values: npt.NDArray[np.float64], decay: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        left = np.maximum(1 - values / length, 1e-12)
        wanted = sizes[0] * decay / left * (1 + ROUNDING_OF_DECAY)
        places = np.searchsorted(sizes, wanted, side="right") - 1
        taken: npt.NDArray[np.int64] = sizes[np.maximum(places, 0)]
        return taken

    return size_at
