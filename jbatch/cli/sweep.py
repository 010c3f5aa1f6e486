"""`jbatch sweep`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jbatch.cli import several
from jbatch.errors import Mistake
from jbatch.study.many import train

USAGE = "jbatch sweep FILE [VARIANT …]"


@dataclass(frozen=True)
class Options(several.Options):
    """Train every point of a grid over several seeds; write one table and one report.

    jbatch trains each VARIANT, or every variant of the file, at every combination of the grid's
    values. The report draws results against the grid's last field if its values are numbers. Run
    the same command again to resume: jbatch skips runs that are finished or have diverged. The
    options may also change the experiment's fields: jbatch sweep FILE --help lists them.

    For example: jbatch sweep experiments/digits.py --grid optimizer.weight-decay=0,1e-4,1e-3
    """

    grid: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="(required)")] = ()
    """Fields and values, for example optimizer.nesterov=True,False "model.hidden=64,64 64"."""


def run(arguments: Sequence[str]) -> None:
    """Train the missing runs, then print the table and write the report."""
    study, options, file = several.read(
        Options, arguments, USAGE, grid_of=lambda options: options.grid
    )
    if not options.grid:
        raise Mistake("give --grid FIELD=VALUE,VALUE…, or use jbatch compare, which needs no grid")
    train(study, options.out or Path("runs") / f"{file.path.stem}-sweep", options.log)
