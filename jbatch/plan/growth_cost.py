"""What growing the batch costs in a bound of the loss, and how many updates it saves.

docs/theory.md derives the bound. It holds for SGD on convex losses, without momentum.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake
from jbatch.plan.plan import Phase, Plan
from jbatch.text import text_table

Values = npt.NDArray[np.float64]


class Gradients(NamedTuple):
    """What is assumed, or was measured, of a run's gradients; values between positions are linear.

    Only the ratio of the two counts if neither changes.
    """

    positions: npt.NDArray[np.int64]  # (n,) ascending, n > 0
    squared: Values  # (n,) |G|², of the gradient of the mean loss
    trace: Values  # (n,) trΣ, of the covariance of one example's gradient

    def at(self, positions: npt.NDArray[np.int64]) -> tuple[Values, Values]:
        """Return (|G|², trΣ) at positions, each at least 0."""
        squared, trace = (np.interp(positions, self.positions, each) for each in self[1:])
        return np.maximum(squared, 0.0), np.maximum(trace, 0.0)

    @property
    def noise_scale(self) -> float:
        """The mean trΣ over the mean |G|², in examples."""
        return float(self.trace.mean() / self.squared.mean())

    @property
    def at_the_start(self) -> float:
        """trΣ/|G|² where both are over 0 for the first time, in examples."""
        positive = (self.squared > 0) & (self.trace > 0)
        if not positive.any():
            return self.noise_scale
        first = int(np.argmax(positive))
        return float(self.trace[first] / self.squared[first])


def assumed(noise_scale: float) -> Gradients:
    """Return gradients whose noise scale trΣ/|G|² stays the same."""
    return Gradients(np.zeros(1, np.int64), np.ones(1), np.array([noise_scale], float))


class Cost(NamedTuple):
    """The cost of a phase's batch size, against the base batch."""

    phase: Phase
    saved: int  # updates
    bound: float  # added to the noise part of the bound, as a share of that part


@dataclass(frozen=True)
class GrowthCost:
    """The cost of a plan's growth."""

    base: int  # the batch that it is compared with
    noise_scale: float
    phases: tuple[Cost, ...]

    @property
    def saved(self) -> int:
        """Updates saved by the whole plan."""
        return sum(cost.saved for cost in self.phases)

    @property
    def bound(self) -> float:
        """What the whole plan adds to the noise part of the bound, as a share of it."""
        return sum(cost.bound for cost in self.phases)


def growth_cost(plan: Plan, base: int, gradients: Gradients) -> GrowthCost:
    """Compute what a plan's growth costs: Σ w |G|² (1 − B0/B) over Σ w (trΣ/B + |G|² B0/B).

    The sums go over updates, and w is `weights`. The denominator is the noise part of the bound if
    B0 examples at a time go through the same rates per example, ε/B.

    Args:
        plan: with scaling 1, which alone keeps ε/B.
        base: B0.
        gradients: measured or assumed.

    Raises:
        Mistake: for another scaling.
    """
    if plan.scaling != 1:
        raise Mistake(
            f"the cost of growth is known for scaling 1, which keeps ε/B, and this plan has "
            f"{plan.scaling:g}: --predict compares plans of any scaling"
        )
    squared, trace = gradients.at(plan.positions)
    weight = weights(plan.learning_rates.astype(float))
    shares = base / plan.batch_sizes
    cost = weight * squared * (1 - shares)
    whole = float((weight * (trace / plan.batch_sizes + squared * shares)).sum())
    measure = replace(plan.measure, unit="updates", base=base)
    costs = []
    for phase in plan.phases:
        end = phase.first_update + phase.updates
        first, last = (measure.at(plan.position(update)) for update in (phase.first_update, end))
        costs.append(
            Cost(
                phase=phase,
                saved=int(np.ceil(last) - np.ceil(first)) - phase.updates,
                bound=float(cost[phase.first_update : end].sum()) / whole,
            )
        )
    return GrowthCost(base, gradients.noise_scale, tuple(costs))


def weights(rates: Values) -> Values:
    """Return ε²/R of every update: the bound is D²/(2R₀) + ½ Σ ε²/R · E|g|².

    R sums the rates of the updates after this one, and for the last update is its own rate.

    Args:
        rates: ε, float64 of shape (updates,), one of them over 0.
    """
    made = np.zeros_like(rates)
    moves = np.flatnonzero(rates > 0)  # the others do nothing
    moving = rates[moves]
    left = np.cumsum(moving[::-1])[::-1]
    made[moves] = moving**2 / np.append(left[1:], left[-1])
    return made


def growth_cost_text(found: GrowthCost) -> str:
    """Format the cost as a table."""
    rows = [
        (
            str(cost.phase.number),
            f"{cost.phase.batch_size:,}",
            f"{cost.phase.updates:,}",
            f"{cost.saved:,}",
            f"{cost.bound:+.2%}".replace("-", "−"),
        )
        for cost in found.phases
    ]
    updates = sum(cost.phase.updates for cost in found.phases)
    total = f"{found.bound:+.2%}".replace("-", "−")
    rows.append(("all", "", f"{updates:,}", f"{found.saved:,}", total))
    return (
        f"Growth at a gradient noise scale of {found.noise_scale:,.4g} examples, against batch "
        f"{found.base:,} throughout:\n\n"
        + text_table(("phase", "batch", "updates", "saved", "loss bound"), rows)
        + "\n\nLoss bound: what growth adds to its noise part; convex losses, SGD (docs/theory.md)."
    )


def growth_cost_json(found: GrowthCost) -> dict[str, Any]:
    """Describe the cost as JSON."""
    return {
        "base_batch_size": found.base,
        "gradient_noise_scale": found.noise_scale,
        "updates_saved": found.saved,
        "loss_bound": found.bound,
        "phases": [
            {"phase": cost.phase.index, "updates_saved": cost.saved, "loss_bound": cost.bound}
            for cost in found.phases
        ],
    }
