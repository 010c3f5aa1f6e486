"""Run a benchmark, print its results, and write them with all that is needed to repeat them."""

import json
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
import tyro
from matplotlib.figure import Figure

from jbatch.devices.environment import environment
from jbatch.devices.malloc import restart_with_huge_pages
from jbatch.distributed.preemption import Stopped
from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.report.drawing import LOOK, saved
from jbatch.text import text_table


@dataclass(frozen=True)
class Common:
    """Hold the options of every benchmark."""

    json: Path | None = None
    """Write the results to this file, and a figure beside it (.svg)."""
    quick: bool = False
    """Make few and short measurements, to check that the benchmark runs."""


class Table(NamedTuple):
    """Hold a table of text; its first column is left-aligned."""

    header: tuple[str, ...]
    cells: Sequence[Sequence[str]]


class Outcome(NamedTuple):
    """Hold the results of one benchmark."""

    tables: Sequence[Table]
    values: dict  # the results as numbers; `benchmarks.check` reads "ratios"
    notes: Sequence[str] = ()
    figure: Callable[[], tuple[str, Figure]] | None = None  # (caption, figure)


class Ratio(NamedTuple):
    """Hold the ratio of two speeds, over windows in which both took turns."""

    median: float
    low: float  # quartiles
    high: float

    @classmethod
    def of(cls, windows: npt.ArrayLike) -> "Ratio":
        """Return the median of the windows' ratios, and their quartiles."""
        return cls(*map(float, np.quantile(windows, (0.5, 0.25, 0.75))))

    def cells(self, digits: int) -> tuple[str, str]:
        """Format the median and the quartiles for a table."""
        return f"{self.median:.{digits}f}", f"{self.low:.{digits}f}–{self.high:.{digits}f}"


def run_other(name: str, *options: str, to: Path, quick: bool = False) -> bool:
    """Run another benchmark in a process of its own; return whether it has written its results."""
    command = [f"benchmarks.{name}", *options, *["--quick"] * quick]
    print(f"python -m {shlex.join(command)}", flush=True)
    begun = time.perf_counter()
    command = [sys.executable, "-m", *command, "--json", str(to)]
    failed = subprocess.run(command, check=False).returncode
    print(f"benchmarks.{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return not failed


def run(main: Callable[..., Outcome], kind: type[Common], about: str) -> None:
    """Run a benchmark with the options of the command line, as `jbatch train` runs."""
    restart_with_huge_pages(_module())
    config = (tyro.conf.FlagCreatePairsOff,)
    options = tyro.cli(kind, prog=program(), description=about, config=config)
    with mistakes_said():
        if options.json is not None and not options.json.absolute().parent.is_dir():
            raise Mistake(f"--json is {options.json}: there is no such folder; make it first")
        outcome = main(options)
    for table in outcome.tables:
        print(text_table(table.header, table.cells) + "\n")
    for note in outcome.notes:
        print(note)
    if options.json is not None:
        write(options.json, outcome, about, quick=options.quick)


def program() -> str:
    """Return the command that started this process."""
    return f"python -m {_module()}"


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"


@contextmanager
def mistakes_said() -> Iterator[None]:
    """End with one message after a user's mistake or interrupt."""
    try:
        yield
    except Mistake as mistake:
        print(f"benchmarks: {mistake}", file=sys.stderr)
        sys.exit(2)
    except (Stopped, KeyboardInterrupt):
        print("benchmarks: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def hardware() -> dict:
    """Describe the machine, and the versions of the measured libraries."""
    versions = {}
    for name in ("jaxlib", "torch", "torchvision", "tensorflow"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"processor": processor(), **environment(), **versions}


def processor() -> str:
    """Return the CPU's name; Linux only."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(path: Path, outcome: Outcome, about: str, *, quick: bool = False) -> None:
    """Write the outcome as JSON, and its figure beside it."""
    caption = ""
    if outcome.figure is not None:
        with matplotlib.rc_context(LOOK):
            caption, figure = outcome.figure()
            path.with_suffix(".svg").write_bytes(saved(figure, "svg"))
    found = {
        "about": about.strip(),
        "command": f"{program()} {shlex.join(sys.argv[1:])}",
        "quick": quick,
        "environment": hardware(),
        "tables": [table._asdict() for table in outcome.tables],
        "notes": list(outcome.notes),
        "caption": caption,
        **outcome.values,
    }
    write_whole(path, json.dumps(found, indent=2) + "\n")
