"""`jbatch sweep`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli import several
from jbatch.errors import Mistake
from jbatch.study.many import train

USAGE = "jbatch sweep FILE [VARIANT …]"


@dataclass(frozen=True)
class Options(several.Options):
    """Train an experiment at every point of a grid over several seeds; one table and one report.

    Without VARIANT, all of the file; each at every combination of the grid's values. Results are
    drawn against the last field of the grid, if its values are numbers. Runs that are finished, or
    have diverged, are not trained again, and the same command goes on where it stopped. FILE
    VARIANT --help lists the experiment's fields. Into runs/FILE-sweep, unless --out is given.

    For example: jbatch sweep experiments/digits.py --grid optimizer.weight-decay=0,1e-4,1e-3
    """

    grid: tuple[str, ...] = ()
    """Fields and their values, as optimizer.nesterov=True,False "model.hidden=64,64 64"."""


def run(arguments: Sequence[str]) -> None:
    """Train what is missing, then print the table and write the report."""
    study, options = several.read(Options, arguments, USAGE, grid_of=lambda options: options.grid)
    if not options.grid:
        raise Mistake("give --grid FIELD=VALUE,VALUE…; without one, it is jbatch compare")
    train(study, options.out or Path("runs") / f"{study.file.path.stem}-sweep")
