"""Measure the cost of a change of batch size during training.

Each update around a change is timed alone. Every program is compiled ahead, as in a run that has
trained for a while. The table also shows how long the first update waits if it must compile.

    python -m benchmarks.phase_change --json phase_change.json
"""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import jax
import optax
from matplotlib.figure import Figure

from benchmarks.outcome import Common, Outcome, Table, run
from jbatch.data.sources import Generated
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.models import MLP, GhostBatchNorm, SmallCNN
from jbatch.report.drawing import STYLES
from jbatch.run.run import Run
from jbatch.run.start import open_run
from jbatch.step import programs
from jbatch.task.classify import Classify

NETWORKS = {
    "MLP 784-512-512-10": MLP(hidden=(512, 512)),
    "CNN 16-32-64": SmallCNN((16, 32, 64), GhostBatchNorm(ghost_batch=128)),
}
AROUND = 30  # updates before and after a change


@dataclasses.dataclass(frozen=True)
class Options(Common):
    """Measure the cost of a change of batch size during training."""

    factor: int = 5
    """Factor by which the batch of 128 grows at each of two changes (one with --quick)."""


def main(options: Options) -> Outcome:
    """Measure."""
    changes = 1 if options.quick else 2
    sizes = tuple(128 * options.factor**power for power in range(changes + 1))
    count = 2 * AROUND * max(sizes)
    schedule = optax.piecewise_constant_schedule(
        0.1, dict.fromkeys(range(1, changes + 1), 1 / options.factor)
    )
    rows = []
    for name, model in NETWORKS.items():
        experiment = Experiment(
            plan=Coupling(
                schedule=schedule,
                num_examples=count,
                num_epochs=changes + 1,
                batch_size=128,
                batch_sizes=sizes,
                momentum=0.9,
            ),
            task=Classify(model),
            data=Generated(count, 128, (28, 28, 1), 10),
            micro_batch=128,
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            open_run(experiment, Path(folder) / "run") as run,
        ):
            for size in sizes:
                run.ahead.program(size)
            for phase in range(1, changes + 1):
                rows.append({"network": name, **_change(run, phase)})
    table = Table(HEADER, [_cells(row) for row in rows])
    return Outcome([table], {"rows": rows, "seeds": [0]}, figure=lambda: _figure(rows))


HEADER = ("network", "batch", "ms an update", "after", "first after", "stall ms", "compile ms")


def _change(run: Run, phase: int) -> dict:
    """Return the seconds of updates around the start of a phase."""
    first = run.plan.phases[phase].first_update
    seconds = {}
    for update in range(first - AROUND, first + AROUND):
        begun = time.perf_counter()
        run.state = run.driver.update(run.state, [run.plan.at(update)])
        jax.block_until_ready(run.state)
        seconds[update] = time.perf_counter() - begun
    before = statistics.median(seconds[update] for update in range(first - AROUND, first))
    after = statistics.median(seconds[update] for update in range(first + 1, first + AROUND))
    begun = time.perf_counter()
    program = run.ahead.program(run.plan.at(first).batch_size)
    programs.lowered(run.job.setup, program.passes.calls[0]).compile()
    return {
        "batch": [run.plan.at(first - 1).batch_size, run.plan.at(first).batch_size],
        "before": before,
        "after": after,
        "first": seconds[first],
        "stall": seconds[first] - after,
        "compile": time.perf_counter() - begun,
    }


def _cells(row: dict) -> tuple[str, ...]:
    spent = (row[name] for name in ("before", "after", "first", "stall", "compile"))
    before, after = row["batch"]
    return (
        row["network"],
        f"{before:,} → {after:,}",
        *(f"{1e3 * seconds:,.2f}" for seconds in spent),
    )


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['network']}\n{row['batch'][0]:,} → {row['batch'][1]:,}" for row in rows]
    bars = {"an update after it": "after", "stall": "stall", "compiling, if it had to": "compile"}
    for number, (label, key) in enumerate(bars.items()):
        places = [place + (number - 1) * 0.27 for place in range(len(rows))]
        color = STYLES[number]["color"]
        axes.bar(places, [1e3 * row[key] for row in rows], 0.25, label=label, color=color)
    axes.set_xticks(range(len(rows)), names, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.legend()
    return "What the first update of a phase takes beyond the next ones.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
