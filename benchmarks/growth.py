"""Measure how much time growing the batch saves: train whole plans of one experiment.

For every schedule the table shows updates, seconds, and seconds of compilation (in the background
and waited for). For every phase it shows the speed and the cost of its start: its first update
against the median of the next eight, each timed alone.

    python -m benchmarks.growth --json growth.json
    python -m benchmarks.growth --file experiments/small_cifar10.py --variants steps-decaying …
"""

import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.apart import as_trained
from benchmarks.outcome import Common, Outcome, Table, run
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.report.drawing import STYLES
from jbatch.run.libraries import prepare_libraries
from jbatch.run.loop import run_until
from jbatch.run.metrics import read_metrics
from jbatch.run.reopen import load_experiment_file
from jbatch.run.run import Run
from jbatch.run.start import open_run

ALONE = 9  # updates at a phase's start that are timed one by one


@dataclass(frozen=True)
class Options(Common):
    """Measure how much time growing the batch saves, in whole runs."""

    file: Path = Path(__file__).parent.parent / "experiments" / "digits.py"
    """Experiment file."""
    variants: tuple[str, ...] = ("decaying", "hybrid", "increasing")
    """Variants of the file; speedups are against the first."""
    epochs: float | None = None
    """Epochs of each plan. None: the plan's own."""


def main(options: Options) -> Outcome:
    """Train all variants."""
    runs, phases = [], []
    epochs = options.epochs or (32 if options.quick else None)
    if not options.variants:
        raise Mistake("--variants names none: give one at least")
    for name in options.variants:
        check_phases(_experiment(options.file, name, epochs))
    for name in options.variants:
        # In a separate process, so that no run finds programs that another has compiled.
        context = multiprocessing.get_context("spawn")
        with as_trained(), ProcessPoolExecutor(1, context) as pool:
            whole, parts = pool.submit(trained, options.file, name, epochs).result()
        runs.append({"variant": name, **whole})
        phases += [{"variant": name, **part} for part in parts]
        print(f"{name}: {whole['updates']:,} updates in {whole['seconds']:.1f} s", flush=True)
    first = runs[0]
    return Outcome(
        [
            Table(RUNS, [_of_run(row, first) for row in runs]),
            Table(PHASES, [_of_phase(row) for row in phases]),
        ],
        {"runs": runs, "phases": phases, "seeds": [0]},
        figure=lambda: _figure(phases),
    )


def _experiment(file: Path, variant: str, epochs: float | None) -> Experiment:
    experiment = load_experiment_file(file).variant(variant)
    if epochs is None:
        return experiment
    plan = dataclasses.replace(experiment.plan, num_epochs=epochs)
    return dataclasses.replace(experiment, plan=plan)


def check_phases(experiment: Experiment) -> None:
    """Raise a Mistake if a phase is too short to be timed."""
    for number, phase in enumerate(experiment.make_plan().phases):
        if phase.updates < 2 * ALONE:
            raise Mistake(
                f"phase {number} has {phase.updates} updates, and needs {2 * ALONE} to be timed: "
                "give more --epochs"
            )


def trained(file: Path, variant: str, epochs: float | None) -> tuple[dict, list[dict]]:
    """Train a plan; return the seconds (of the whole run, of each phase)."""
    prepare_libraries()
    experiment, begun = _experiment(file, variant, epochs), time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as directory,
        open_run(experiment, Path(directory) / "run") as opened,
    ):
        parts = [_phase(opened, number) for number in range(len(opened.plan.phases))]
        run_until(opened, opened.plan.num_updates)
        accuracy = read_metrics(Path(directory) / "run" / "metrics.jsonl")[-1]["accuracy"]
        spent, ahead = opened.clock.ledger.seconds, opened.ahead.seconds
    whole = {
        "updates": opened.plan.num_updates,
        "seconds": time.perf_counter() - begun,
        "training": spent["training"] + spent["input wait"],
        "compiling": ahead,
        "waited": spent["compilation"],
        "accuracy": accuracy,
    }
    return whole, parts


def _phase(opened: Run, number: int) -> dict:
    """Train through a phase."""
    phase = opened.plan.phases[number]
    end = phase.first_update + phase.updates
    alone = [_training(opened, phase.first_update + each + 1) for each in range(ALONE)]
    ordinary = statistics.median(alone[1:])
    rest = _training(opened, end)
    return {
        "phase": number,
        "batch_size": phase.batch_size,
        "updates": phase.updates,
        "examples_per_second": (phase.updates - ALONE) * phase.batch_size / rest,
        "update": rest / (phase.updates - ALONE),
        "stall": alone[0] - ordinary,
    }


def _training(opened: Run, last: int) -> float:
    """Train up to an update; return the seconds, including waits for compilation."""
    spent = opened.clock.ledger.seconds
    kinds = ("training", "input wait", "compilation")
    before = sum(spent.get(kind, 0.0) for kind in kinds)
    run_until(opened, last)
    return sum(spent.get(kind, 0.0) for kind in kinds) - before


RUNS = (
    *("variant", "updates", "seconds", "training", "faster", "compiling", "waited for it"),
    "test accuracy",
)
PHASES = ("variant", "phase", "batch", "updates", "examples/s", "ms an update", "begins with, ms")


def _of_run(row: dict, first: dict) -> tuple[str, ...]:
    spent = (row[name] for name in ("compiling", "waited"))
    return (
        row["variant"],
        f"{row['updates']:,}",
        f"{row['seconds']:.1f}",
        f"{row['training']:.2f}",
        f"{first['training'] / row['training']:.2f}",
        *(f"{seconds:.1f}" for seconds in spent),
        f"{row['accuracy']:.2%}",
    )


def _of_phase(row: dict) -> tuple[str, ...]:
    return (
        row["variant"],
        str(row["phase"]),
        f"{row['batch_size']:,}",
        f"{row['updates']:,}",
        f"{row['examples_per_second']:,.0f}",
        f"{1e3 * row['update']:.3g}",
        f"{1e3 * row['stall']:.1f}",
    )


def _figure(phases: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(row["variant"] for row in phases))
    for name, style in zip(names, cycle(STYLES)):
        mine = [row for row in phases if row["variant"] == name]
        axes.plot(
            [row["phase"] for row in mine],
            [row["examples_per_second"] for row in mine],
            marker="o",
            label=name,
            **style,
        )
    axes.set_xlabel("phase")
    axes.set_ylabel("examples/s")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return "Speed in each phase of the plans.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
