"""`jbatch compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli import several
from jbatch.study.many import train

USAGE = "jbatch compare FILE [VARIANT …]"


@dataclass(frozen=True)
class Options(several.Options):
    """Train several variants of an experiment over several seeds; write one table and one report.

    Without VARIANT, jbatch trains every variant of the file. Run the same command again to resume:
    jbatch skips finished runs. The options may also change the experiment's fields, in every
    variant: jbatch compare FILE --help lists them.

    For example: jbatch compare experiments/digits.py decaying increasing --seeds 0 1 2
    """


def run(arguments: Sequence[str]) -> None:
    """Train the missing runs, then print the table and write the report."""
    study, options, file = several.read(Options, arguments, USAGE)
    train(study, options.out or Path("runs") / file.path.stem, options.log)
