"""`jbatch bench`: measure an experiment, or run the suite of a checkout."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import RunsCode, file_and_variant, leading
from jbatch.cli.help import print_help, wants_help
from jbatch.devices.cores import each_a_device
from jbatch.errors import Mistake, positive, whole
from jbatch.messages import show
from jbatch.run.libraries import prepare_libraries
from jbatch.text import clock, significant, text_table

USAGE = "jbatch bench FILE VARIANT"


@dataclass(frozen=True)
class Options(RunsCode):
    """Measure how fast an experiment trains here, at each batch size of its plan.

    It trains for some seconds at each batch size, in a temporary folder, with the experiment's
    data, network and optimizer, and at a negligible learning rate. The options may change the
    experiment's fields: jbatch bench FILE VARIANT --help lists them.

    Without FILE, in a checkout of jbatch, it runs the suite of benchmarks/ instead, with the
    options of python -m benchmarks --help.

    For example: jbatch bench experiments/digits.py increasing
    """

    seconds: float = 1.0
    """Length of a window of measurement, about."""
    windows: int = 5
    """Number of windows at each batch size. The table has their median, and their range."""
    json: bool = False
    """Print JSON: batch_size, passes, updates, seconds (of an update), fastest, slowest,
    compile_seconds, input_wait, for each batch size."""

    def __post_init__(self) -> None:
        positive("--seconds", self.seconds, "a number of seconds")
        whole("--windows", self.windows)


def run(arguments: Sequence[str]) -> None:
    """Measure the experiment and print a table."""
    names, rest = leading(arguments)
    if not names and wants_help(rest):
        print_help(Options, USAGE)
    if not names and Path("benchmarks", "__main__.py").exists():
        # Not a child process: signals must reach the benchmarks.
        os.execv(sys.executable, (sys.executable, "-m", "benchmarks", *arguments))
    if not names:
        raise Mistake(
            f"give an experiment to measure: {USAGE} (the suite runs in a checkout of jbatch, "
            f"which {Path.cwd()} is not)"
        )
    each_a_device()
    _, _, options, _, experiment = file_and_variant(Options, arguments, USAGE)

    from jbatch.analysis.speed import speeds

    prepare_libraries()
    found = list(speeds(experiment, options.seconds, options.windows))
    if options.json:
        print(json.dumps([each._asdict() for each in found]))
        return
    header = ("batch", "passes", "updates/s", "range", "examples/s", "input wait", "compile s")
    rows = [
        (
            f"{each.batch_size:,}",
            f"{each.passes:,}",
            significant(1 / each.seconds, 3),
            f"{significant(1 / each.slowest, 3)} – {significant(1 / each.fastest, 3)}",
            significant(each.batch_size / each.seconds, 3),
            f"{each.input_wait:.0%}",
            f"{each.compile_seconds:.1f}",
        )
        for each in found
    ]
    show(text_table(header, rows))
    updates = sum(each.updates for each in found)
    spent = sum(each.updates * each.seconds for each in found)
    show(
        f"\nThe plan's {updates:,} updates take about {_time(spent)} here, and compilation, "
        "evaluations and checkpoints come on top."
    )


def _time(seconds: float) -> str:
    return clock(seconds) if seconds >= 60 else f"{significant(seconds, 2)} s"
