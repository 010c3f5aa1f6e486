"""Measure the cost of a change of batch size during training.

Each update around a change is timed alone. Every program is compiled ahead, as in a run that has
trained for a while. Each window is a process of its own, because a process runs a program for the
first time once. The stall is what the first update of a phase takes beyond the later ones; the
target is less than one update. The table also shows how long that update waits if it must compile.

    python -m benchmarks.phase_change --json phase_change.json
"""

import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from benchmarks.apart import as_trained
from benchmarks.outcome import Common, Outcome, Ratio, Table, run
from jbatch.data.sources import Generated
from jbatch.errors import whole
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.models import MLP, GhostBatchNorm, SmallCNN, WideResNet
from jbatch.report.drawing import STYLES
from jbatch.run.run import Run
from jbatch.run.start import open_run
from jbatch.step import programs
from jbatch.task.classify import Classify

NETWORKS = {  # and updates before and after a change
    "MLP 784-512-512-10": (MLP(hidden=(512, 512)), (28, 28, 1), 30),
    "CNN 16-32-64": (SmallCNN((16, 32, 64), GhostBatchNorm(ghost_batch=128)), (28, 28, 1), 30),
    "WRN-16-4": (WideResNet(16, 4), (32, 32, 3), 3),
}
TIMED = ("before", "after", "first", "stall", "compile")


@dataclasses.dataclass(frozen=True)
class Options(Common):
    """Measure the cost of a change of batch size during training."""

    networks: tuple[Literal[tuple(NETWORKS)], ...] = tuple(NETWORKS)[:2]
    """Networks. WRN-16-4 takes minutes."""
    factor: int = 5
    """Factor by which the batch of 128 grows at each of two changes (one with --quick)."""
    windows: int = 5
    """Processes for each network."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    growths = 1 if options.quick else 2
    windows = 2 if options.quick else options.windows
    rows = []
    for name in options.networks:
        turns = [_apart(name, options.factor, growths) for _ in range(windows)]
        for found in zip(*turns, strict=True):  # of one change
            values = {key: [each[key] for each in found] for key in TIMED}
            row = {"network": name, "batch": found[0]["batch"], **values}
            row["ratio"] = Ratio.of(np.divide(values["after"], values["first"]))
            rows.append(row)
        print(f"{name}: done", flush=True)
    ratios = {
        f"update/first of a phase, {row['network']}, batch {row['batch'][1]}": row["ratio"]
        for row in rows
    }
    table = Table(HEADER, [_cells(row) for row in rows])
    return Outcome(
        [table], {"rows": rows, "seeds": [0], "ratios": ratios}, figure=lambda: _figure(rows)
    )


def _apart(name: str, factor: int, growths: int) -> list[dict]:
    context = multiprocessing.get_context("spawn")
    with as_trained(), ProcessPoolExecutor(1, context) as pool:
        return pool.submit(changes, name, factor, growths).result()


def changes(name: str, factor: int, growths: int) -> list[dict]:
    """Return the seconds around each change of one run."""
    model, shape, around = NETWORKS[name]
    sizes = tuple(128 * factor**power for power in range(growths + 1))
    count = 2 * around * max(sizes)
    schedule = optax.piecewise_constant_schedule(
        0.1, dict.fromkeys(range(1, growths + 1), 1 / factor)
    )
    experiment = Experiment(
        plan=Coupling(
            schedule=schedule,
            num_examples=count,
            num_epochs=growths + 1,
            batch_size=128,
            batch_sizes=sizes,
            momentum=0.9,
        ),
        task=Classify(model),
        data=Generated(count, 128, shape, 10),
        micro_batch=128,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        open_run(experiment, Path(folder) / "run") as run,
    ):
        for size in sizes:
            run.ahead.program(size)
        return [_change(run, phase, around) for phase in range(1, growths + 1)]


def _change(run: Run, phase: int, around: int) -> dict:
    """Return the seconds of updates around the start of a phase."""
    first = run.plan.phases[phase].first_update
    seconds = {}
    for update in range(first - around, first + around):
        begun = time.perf_counter()
        run.state = run.driver.update(run.state, [run.plan.at(update)])
        jax.block_until_ready(run.state)
        seconds[update] = time.perf_counter() - begun
    before = statistics.median(seconds[update] for update in range(first - around, first))
    after = statistics.median(seconds[update] for update in range(first + 1, first + around))
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


HEADER = (
    *("network", "batch", "ms an update", "after", "first after", "stall ms", "compile ms"),
    *("update/first", "quartiles"),
)


def _cells(row: dict) -> tuple[str, ...]:
    before, after = row["batch"]
    return (
        row["network"],
        f"{before:,} → {after:,}",
        *(f"{1e3 * statistics.median(row[key]):,.2f}" for key in TIMED),
        *row["ratio"].cells(2),
    )


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['network']}\n{row['batch'][0]:,} → {row['batch'][1]:,}" for row in rows]
    bars = {"an update after it": "after", "stall": "stall", "compiling, if it had to": "compile"}
    for number, (label, key) in enumerate(bars.items()):
        places = [place + (number - 1) * 0.27 for place in range(len(rows))]
        color = STYLES[number]["color"]
        heights = [max(1e3 * statistics.median(row[key]), 0.01) for row in rows]
        axes.bar(places, heights, 0.25, label=label, color=color)
    axes.set_xticks(range(len(rows)), names, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.legend()
    return "What the first update of a phase takes beyond the next ones.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
