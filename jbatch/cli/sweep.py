"""`jbatch sweep`."""

from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli import several

USAGE = "jbatch sweep FILE [VARIANT …]"


@dataclass(frozen=True)
class Options(several.Options):
    """Train an experiment at every point of a grid over several seeds; one table and one report.

    Without VARIANT, all of the file; each at every combination of the grid's values. Results are
    drawn against the last field of the grid, if its values are numbers. Runs that are finished are
    not trained again, and the same command goes on where it stopped. FILE VARIANT --help lists the
    experiment's fields.

    For example: jbatch sweep experiments/digits.py decaying --grid plan.batch-size=16,32,64
    """

    grid: tuple[str, ...] = ()
    """Fields and their values, as plan.scaling=0.5,1 plan.batch-size=32,128,512."""


def run(arguments: Sequence[str]) -> None:
    """Train what is missing, then print the table and write the report."""
    several.train(several.read(Options, arguments, USAGE))
