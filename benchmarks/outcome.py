"""What a benchmark has found: printed, and written with all that it takes to find it again."""

import json
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import matplotlib
import tyro
from matplotlib.figure import Figure

from jbatch.devices.environment import environment
from jbatch.distributed.preemption import Stopped
from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.report.drawing import LOOK, saved
from jbatch.tables import text_table


@dataclass(frozen=True)
class Common:
    """What every benchmark can be told."""

    json: Path | None = None
    """Write the figures here, and beside it (.svg) what is drawn of them."""
    quick: bool = False
    """Few and short measurements, to see that it runs."""


class Table(NamedTuple):
    """A table as text: the first column flush left."""

    header: tuple[str, ...]
    cells: Sequence[Sequence[str]]


class Outcome(NamedTuple):
    """Of one benchmark."""

    tables: Sequence[Table]
    values: dict  # the same and more as numbers; ratios at "ratios", for `benchmarks.check`
    notes: Sequence[str] = ()
    figure: Callable[[], tuple[str, Figure]] | None = None  # its caption, and what is drawn


class Ratio(NamedTuple):
    """Of two speeds, over windows in which both took their turns."""

    median: float
    low: float  # quartiles
    high: float


def run(main: Callable[..., Outcome], kind: type[Common], about: str) -> None:
    """Do what the command line asks of a benchmark."""
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


def short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def program() -> str:
    """What a person has typed to run this process."""
    return f"python -m benchmarks.{Path(sys.argv[0]).stem}"


@contextmanager
def mistakes_said() -> Iterator[None]:
    """End with one message, where a person's mistake or wish ends it."""
    try:
        yield
    except Mistake as mistake:
        print(f"benchmarks: {mistake}", file=sys.stderr)
        sys.exit(2)
    except (Stopped, KeyboardInterrupt):
        print("benchmarks: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def hardware() -> dict:
    """The machine, and the versions of all that may have been measured."""
    versions = {}
    for name in ("jaxlib", "torch", "torchvision", "tensorflow"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"processor": processor(), **environment(), **versions}


def processor() -> str:
    """The CPU's own name, on Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(path: Path, outcome: Outcome, about: str, *, quick: bool = False) -> None:
    """The outcome as JSON, and its figure beside it."""
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
