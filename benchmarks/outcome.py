"""What a benchmark has found: printed, and written with all that it takes to find it again."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import tyro
from matplotlib.figure import Figure

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.report.figures import LOOK, saved
from jbatch.run_directory import environment
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
    options = tyro.cli(kind, description=about, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        outcome = main(options)
    except Mistake as mistake:
        print(f"benchmarks: {mistake}", file=sys.stderr)
        sys.exit(2)
    for table in outcome.tables:
        print(text_table(table.header, table.cells) + "\n")
    for note in outcome.notes:
        print(note)
    if options.json is not None:
        write(options.json, outcome, about)


def write(path: Path, outcome: Outcome, about: str) -> None:
    """The outcome as JSON, and its figure beside it."""
    caption = ""
    if outcome.figure is not None:
        with matplotlib.rc_context(LOOK):
            caption, figure = outcome.figure()
            path.with_suffix(".svg").write_bytes(saved(figure, "svg"))
    found = {
        "about": about.strip(),
        "command": shlex.join(
            ("python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:])
        ),
        "environment": environment(),
        "tables": [table._asdict() for table in outcome.tables],
        "notes": list(outcome.notes),
        "caption": caption,
        **outcome.values,
    }
    write_whole(path, json.dumps(found, indent=2) + "\n")
