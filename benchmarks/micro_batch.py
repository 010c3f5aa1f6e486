"""Compare what jbatch chooses on a CPU with the best of an exhaustive search.

jbatch times a few passes by turns, and keeps its choice for the machine and the setup. Here every
micro-batch that divides the batch into whole ghost batches takes turns. So do 1 to 32 updates in a
call, of which jbatch takes as many as its rule says. The ratio is the choice's speed over that of
the fastest: its medians over the same windows. Seconds are of jbatch's own timing, and with the
compilations that it needs.

    python -m benchmarks.micro_batch --json micro_batch.json
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal
from unittest.mock import patch

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.outcome import Common, Outcome, Ratio, Table, run
from benchmarks.turns import ratio
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from jbatch.errors import Mistake, whole
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Update, cut
from jbatch.report.drawing import STYLES
from jbatch.run.build import make_setup
from jbatch.step import calls, programs, timing
from jbatch.step.programs import Setup, how, told

CASES = {"mlp": (1_024, 8_192), "cnn": (640, 3_200), "wrn-16-4": (640,)}
PER_CALL = {"mlp": (32, 128), "cnn": (32, 128), "wrn-16-4": ()}
FOR_CALLS = (1, 2, 4, 8, 16, 32)
LEAST = 16  # examples of the smallest micro-batch that is searched


@dataclass(frozen=True)
class Options(Common):
    """Compare what jbatch chooses on a CPU with the best of an exhaustive search."""

    networks: tuple[Literal[tuple(CASES)], ...] = ("mlp", "cnn")
    """Networks. wrn-16-4 takes half an hour."""
    windows: int = 7
    """Windows of each candidate."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    if jax.devices()[0].platform != "cpu":
        raise Mistake("on accelerators jbatch times nothing: run this on a CPU")
    windows = 2 if options.quick else options.windows
    rows = []
    for name in options.networks[:1] if options.quick else options.networks:
        for size in CASES[name][:1] if options.quick else CASES[name]:
            rows.append({"network": name, "batch_size": size} | micro_batch(name, size, windows))
            print(f"{name}, batch {size:,}: micro-batch done", flush=True)
        for size in () if options.quick else PER_CALL[name]:
            rows.append({"network": name, "batch_size": size} | per_call(name, size, windows))
            print(f"{name}, batch {size:,}: updates per call done", flush=True)
    ratios = {
        f"chosen/best {row['what']}, {row['network']}, batch {row['batch_size']}": row["ratio"]
        for row in rows
    }
    values = {"rows": rows, "seeds": [0], "ratios": ratios}
    return Outcome(
        [Table(HEADER, [_cells(row) for row in rows])], values, figure=lambda: _figure(rows)
    )


def micro_batch(name: str, size: int, windows: int) -> dict:
    """Return one row: the micro-batch."""
    setup = _setup(name, size)
    group = setup.task.group
    timed = []
    timer = timing.timer

    def noted(*of) -> Callable[[], float]:
        seconds = timer(*of)

        def again() -> float:
            begun = time.perf_counter()
            found = seconds()
            timed.append(time.perf_counter() - begun)
            return found

        return again

    begun = time.perf_counter()
    with patch.object(timing, "timer", noted):
        chosen, _ = timing.fastest(setup, (size,), group, None)
    spent = time.perf_counter() - begun
    limits = (limit for limit in range(LEAST, size + 1) if size % limit == 0)
    layouts = {
        layout.per_device: layout
        for limit in limits
        if limit % min(group or 1, size) == 0
        for layout in cut([size], 1, group, limit)[size].layouts[:1]
    }
    found = {of: [] for of in layouts}
    timers = {of: timer(setup, layout, size // layout.size) for of, layout in layouts.items()}
    _take_turns(timers, found, windows)
    return _row("micro-batch", chosen or size, found, sum(timed), spent)


def per_call(name: str, size: int, windows: int) -> dict:
    """Return one row: the updates in a call."""
    setup = _setup(name, size)
    layout = Layout(size, 1, min(setup.task.group or 1, size))
    chosen = calls.in_call(setup, layout).most
    found = {count: [] for count in sorted({*FOR_CALLS, chosen})}
    _take_turns({count: _updates(setup, layout, count) for count in found}, found, windows)
    return _row("updates per call", chosen, found)


def _updates(setup: Setup, layout: Layout, in_call: int) -> Callable[[], float]:
    """Return a function that takes updates of zeros, some in a call; it returns the seconds of one.

    Whatever the plan's values are, an update takes as long.
    """
    setup = replace(setup, updates_per_call=in_call)
    update, inputs = programs.compiled(setup, Update(layout)), timing.zeros(setup, layout)
    state = programs.initializer(setup)(np.uint32(0))
    hows = told(setup, [how(0.0, layout.groups, layout.size)] * in_call)
    count = -(-max(FOR_CALLS) // in_call)

    def seconds() -> float:
        nonlocal state
        begun = time.perf_counter()
        for _ in range(count):
            state, _ = update(state, hows, *inputs)
        jax.block_until_ready(state)
        return (time.perf_counter() - begun) / (count * in_call)

    return seconds


def _setup(name: str, size: int) -> Setup:
    workload = WORKLOADS[name]
    experiment = experiment_of(workload, data_of(workload), size)
    setup, _ = make_setup(experiment, experiment.make_plan(), jax.devices()[:1])
    return setup


def _take_turns(
    timers: dict[int, Callable[[], float]], found: dict[int, list[float]], windows: int
) -> None:
    for window in range(-1, windows):
        for of, timer in timers.items():
            seconds = timer()
            if window >= 0:  # the first warms up
                found[of].append(seconds)


def _row(
    what: str, chosen: int, found: dict, timed: float | None = None, seconds: float | None = None
) -> dict:
    """Return the values of a row; `found` has seconds by candidate and window."""
    spent = {str(of): np.array(values) for of, values in found.items()}
    best = min(spent, key=lambda of: np.median(spent[of]))
    known: Ratio = ratio(spent, str(chosen), best)
    medians = {of: float(np.median(values)) for of, values in spent.items()}
    return {
        "what": what,
        "chosen": chosen,
        "best": int(best),
        "ratio": known,
        "timing": timed,
        "seconds": seconds,
        "found": medians,
    }


HEADER = (
    *("network", "batch", "what", "chosen", "best", "chosen/best", "quartiles"),
    *("timing s", "with compiling s"),
)


def _cells(row: dict) -> tuple[str, ...]:
    return (
        row["network"],
        f"{row['batch_size']:,}",
        row["what"],
        f"{row['chosen']:,}",
        f"{row['best']:,}",
        *row["ratio"].cells(3),
        "" if row["timing"] is None else f"{row['timing']:.1f}",
        "" if row["seconds"] is None else f"{row['seconds']:.1f}",
    )


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for row, style in zip(rows, STYLES, strict=False):
        least = min(row["found"].values())
        label = f"{row['network']}, {row['batch_size']:,}, {row['what']}"
        speeds = [least / seconds for seconds in row["found"].values()]
        axes.plot([int(of) for of in row["found"]], speeds, marker="o", label=label, **style)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("examples of a pass, or updates in a call")
    axes.set_ylabel("speed over the best")
    axes.legend(fontsize=8)
    return "Speed of every candidate, over the fastest of its search.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
