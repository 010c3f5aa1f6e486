"""`jbatch compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli import several
from jbatch.study.many import train

USAGE = "jbatch compare FILE [VARIANT …]"


@dataclass(frozen=True)
class Options(several.Options):
    """Train several variants of an experiment over several seeds; one table and one report.

    Without VARIANT, all of the file. Runs that are finished are not trained again, and the same
    command goes on where it stopped. FILE VARIANT --help lists the experiment's fields; a field
    given here changes in every variant.

    For example: jbatch compare experiments/digits.py decaying increasing --seeds 0 1 2
    """


def run(arguments: Sequence[str]) -> None:
    """Train what is missing, then print the table and write the report."""
    study, options = several.read(Options, arguments, USAGE)
    train(study, options.out or Path("runs") / study.file.path.stem)
