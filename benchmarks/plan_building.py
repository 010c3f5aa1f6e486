"""How long `couple` takes, for plans of up to ten million updates.

python -m benchmarks.plan_building --json plan_building.json
"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import optax
import tyro

import jbatch
from jbatch.run_directory import environment
from jbatch.tables import text_table

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


@dataclasses.dataclass(frozen=True)
class Options:
    """How long `couple` takes."""

    json: Path | None = None
    """Write the figures here."""
    runs: int = 7
    """Of which the median is taken."""


def main(options: Options) -> list[dict]:
    """Measure, print and write; the figures."""
    rows = []
    for name, arguments in CASES.items():
        seconds = []
        for _ in range(options.runs):
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
    header = ("cosine over 90 epochs of ImageNet", "updates", "phases", "median s")
    cells = [
        (row["case"], f"{row['updates']:,}", f"{row['phases']:,}", f"{row['median_seconds']:.3f}")
        for row in rows
    ]
    print(text_table(header, cells))
    if options.json:
        values = {"environment": environment(), "runs": options.runs, "rows": rows}
        options.json.write_text(json.dumps(values, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
