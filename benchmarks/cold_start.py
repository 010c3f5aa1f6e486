"""Measure the time from the command to the first update, and to a resumed run's first update.

Each start is a process of its own, `jbatch train FILE VARIANT` as a person types it. It is stopped
by SIGTERM as soon as it has logged an update, saves and ends; the same command then resumes it. The
caches of compiled programs and of choices (the micro-batch) are in a folder of this
benchmark: empty at first, then warm for another run of the same experiment. The resumed run is
measured with the warm cache and after the cache was removed. A process that only imports the
libraries takes turns with them: a ratio is its seconds over a start's.

    python -m benchmarks.cold_start --json cold_start.json
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from benchmarks.outcome import Common, Outcome, Ratio, Table, run
from jbatch.errors import Mistake, whole
from jbatch.report.drawing import STYLES

HERE = Path(__file__).parent
# Still training when it is stopped, and it logs every update.
LONGER = ("--plan.num-epochs", "500", "--log-every", "0.01")
STARTED = {
    "digits": (HERE.parent / "experiments" / "digits.py", "increasing", *LONGER),
    "cnn": (HERE / "started.py", "cnn"),
    "wrn-16-4": (HERE / "started.py", "wrn-16-4"),
}
IMPORTS = "import flax.nnx, jax, optax, orbax.checkpoint"
CASES = {
    "imports": "end of the imports",
    "first": "first update, empty cache",
    "again": "first update, warm cache",
    "resumed cold": "resumed, empty cache",
    "resumed": "resumed, warm cache",
}
MOST_SECONDS = 600  # of a start


@dataclass(frozen=True)
class Options(Common):
    """Measure the time from the command to the first update."""

    networks: tuple[Literal[tuple(STARTED)], ...] = tuple(STARTED)
    """Networks to start."""
    windows: int = 3
    """Starts of each kind."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    windows = 1 if options.quick else options.windows
    networks = options.networks[:1] if options.quick else options.networks
    rows = []
    for name in networks:
        turns = [starts(*STARTED[name]) for _ in range(windows)]
        rows.append({"network": name} | {case: [turn[case] for turn in turns] for case in CASES})
        print(f"{name}: done", flush=True)
    ratios = {
        f"imports/{case}, {row['network']}": Ratio.of(np.divide(row["imports"], row[case]))
        for row in rows
        for case in CASES
        if case != "imports"
    }
    cells = [
        (row["network"], *(f"{statistics.median(row[case]):.1f}" for case in CASES)) for row in rows
    ]
    header = ("seconds from the command to the", *CASES.values())
    return Outcome(
        [Table(header, cells)],
        {"rows": rows, "seeds": [0], "ratios": ratios},
        figure=lambda: _figure(rows),
    )


def starts(file: Path, variant: str, *flags: str) -> dict[str, float]:
    """Return the seconds of each kind of start of one experiment."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"

        def seconds(run: str) -> float:
            return _seconds(Path(folder) / run, cache, (str(file), variant, *flags))

        begun = time.perf_counter()
        subprocess.run((sys.executable, "-c", IMPORTS), check=True)
        found["imports"] = time.perf_counter() - begun
        found["first"] = seconds("one")
        found["again"] = seconds("other")
        found["resumed"] = seconds("other")
        shutil.rmtree(cache)
        found["resumed cold"] = seconds("other")
    return found


def _seconds(directory: Path, cache: Path, arguments: tuple[str, ...]) -> float:
    """Start a run; return the seconds until it logs an update, after it has saved and ended."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "jbatch", "train", *arguments, "--run-dir", str(directory)]
    before, begun = _updates(directory), time.perf_counter()
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **output) as process:
        while _updates(directory) <= before:
            if process.poll() is not None or time.perf_counter() - begun > MOST_SECONDS:
                process.kill()
                raise Mistake(f"{' '.join(command)} has taken no update: {process.stderr.read()}")
            time.sleep(0.005)
        spent = time.perf_counter() - begun
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if process.returncode not in (0, 75):
        raise Mistake(f"{' '.join(command)} has ended with {process.returncode}")
    return spent


def _updates(directory: Path) -> int:
    """Count the lines of training that a run has logged."""
    path = directory / "metrics.jsonl"
    return path.read_text().count('"kind": "train"') if path.exists() else 0


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for number, (case, label) in enumerate(CASES.items()):
        places = [place + (number - 2) * 0.17 for place in range(len(rows))]
        heights = [statistics.median(row[case]) for row in rows]
        axes.bar(places, heights, 0.15, label=label, color=STYLES[number]["color"])
    axes.set_xticks(range(len(rows)), [row["network"] for row in rows])
    axes.set_ylabel("s")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return "Seconds from the command to an update.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
