"""Draw what growing the batch does on the noisy quadratic, exactly: the figure of docs/theory.md.

    python -m benchmarks.noisy_quadratic --figure docs/figures/theory_noisy_quadratic.png

Every schedule sees the same data, at the rate that suits it best. Nothing is timed.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import jbatch
from benchmarks.outcome import Common, Outcome, Table, run
from jbatch.plan.plan import Plan
from jbatch.plan.quadratic import CURVATURES, tuned, variance_of
from jbatch.report.drawing import LOOK, STYLES, saved

EXAMPLES, NOISE_SCALE = 4000, 3


@dataclass(frozen=True)
class Options(Common):
    """Draw what growing the batch does on the noisy quadratic."""

    figure: Path | None = None
    """Write the figure to this file (.png)."""


def plans() -> dict[str, tuple[Plan, Plan]]:
    """Return name → (plan, the plan that its rate is tuned for)."""

    def couple(schedule, **more) -> Plan:
        return jbatch.couple(schedule, unit="examples", length=EXAMPLES, batch_size=1, **more)

    def decay(x: float) -> float:
        return (1 - x / EXAMPLES) ** 2

    grows = {"batch_multiple": 1, "max_batch_size": 64}
    decaying, constant = couple(decay), couple(lambda _: 1.0)
    optimal = couple(lambda _: 1.0, **grows, scaling=0.0, growth_rule="optimal")
    return {
        "constant rate, batch 1": (constant, constant),
        "rate decays as (1 − x)², batch 1": (decaying, decaying),
        "batch grows instead, ε/B kept": (couple(decay, **grows), decaying),
        "constant rate, batch grows as ε/√R": (optimal, optimal),
    }


def main(options: Options) -> Outcome:
    """Compute the expected loss after every update."""
    variance, curves = variance_of(NOISE_SCALE), {}
    for name, (plan, twin) in plans().items():
        factor = tuned(twin.learning_rates, twin.batch_sizes, variance)
        curves[name] = losses(plan, factor, variance)
    cells = [(name, f"{len(curve):,}", f"{curve[-1]:.4g}") for name, curve in curves.items()]
    if options.figure is not None:
        with matplotlib.rc_context(LOOK):
            options.figure.write_bytes(saved(_figure(curves)[1], "png"))
    values = {"losses": {name: float(curve[-1]) for name, curve in curves.items()}}
    table = Table(("noisy quadratic, 4,000 examples", "updates", "final loss"), cells)
    return Outcome([table], values, figure=lambda: _figure(curves))


def losses(plan: Plan, factor: float, variance: float) -> np.ndarray:
    """Return the expected loss after each update, (updates,)."""
    moments, found = np.ones(len(CURVATURES)), []
    for row in plan:
        rate = factor * row.learning_rate
        noise = rate**2 * CURVATURES * variance / row.batch_size
        moments = (1 - rate * CURVATURES) ** 2 * moments + noise
        found.append((CURVATURES * moments).sum() / 2)
    return np.array(found)


def _figure(curves: dict[str, np.ndarray]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (name, curve), style in zip(curves.items(), STYLES, strict=False):
        axes.plot(np.arange(1, len(curve) + 1), curve, label=name, **style)
        axes.plot(len(curve), curve[-1], "o", color=style["color"], markersize=5)
    axes.set(xlabel="updates", ylabel="expected loss", yscale="log")
    axes.legend(fontsize=8)
    return "The same 4,000 examples under four plans; dots mark the ends.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
