"""Measure how long `couple` takes, for plans of up to ten million updates.

python -m benchmarks.plan_building --json plan_building.json
"""

import time
from dataclasses import dataclass

import numpy as np
import optax
from matplotlib.figure import Figure

import jbatch
from benchmarks.outcome import Common, Outcome, Table, run

COSINE = optax.cosine_decay_schedule(0.1, 90)
CASES = {  # name → arguments of couple beside N and the number of epochs
    "rate decays, 0.9 M updates": {"batch_size": 128, "batch_sizes": (128,)},
    "rate decays, 1.0 M updates": {"batch_size": 115, "batch_sizes": (115,)},
    "rate decays, 9.6 M updates": {"batch_size": 12, "batch_sizes": (12,)},
    "batch grows ×2 to 65,536": {"batch_size": 128, "growth_factor": 2, "max_batch_size": 65_536},
    "batch grows by 128s to 65,536": {
        "batch_size": 128,
        "batch_multiple": 128,
        "max_batch_size": 65_536,
    },
}


@dataclass(frozen=True)
class Options(Common):
    """Measure how long `couple` takes."""

    runs: int = 7
    """Repetitions; the table shows their median."""


def main(options: Options) -> Outcome:
    """Measure."""
    rows = []
    for name, arguments in CASES.items():
        seconds = []
        for _ in range(1 if options.quick else options.runs):
            start = time.perf_counter()
            plan = jbatch.couple(COSINE, num_examples=1_281_167, num_epochs=90, **arguments)
            seconds.append(time.perf_counter() - start)
        rows.append(
            {
                "case": name,
                "updates": plan.num_updates,
                "phases": len(plan.phases),
                "median_seconds": float(np.median(seconds)),
            }
        )
    cells = [
        (row["case"], f"{row['updates']:,}", f"{row['phases']:,}", f"{row['median_seconds']:.3f}")
        for row in rows
    ]
    header = ("cosine over 90 epochs of ImageNet", "updates", "phases", "median s")
    return Outcome([Table(header, cells)], {"rows": rows}, figure=lambda: _figure(rows))


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([row["case"] for row in rows], [row["median_seconds"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    return "What it takes to make a plan.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
