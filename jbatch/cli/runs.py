"""`jbatch runs`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import run_directory
from jbatch.messages import show
from jbatch.report.read import readable_runs

USAGE = "jbatch runs DIR"


@dataclass(frozen=True)
class Options:
    """List the runs below a directory: state, updates, newest evaluation, goodput.

    A run is finished, diverged, trains now (on this machine), or is unfinished. jbatch runs no
    code of the runs.

    For example: jbatch runs runs
    """

    json: bool = False
    """Print JSON: run, variant, seed, state, updates, planned, scores, goodput of each."""


def run(arguments: Sequence[str]) -> None:
    """Print the table."""
    directory, options = run_directory(arguments, USAGE, Options)
    from jbatch.report.listed import runs_text, values

    records = readable_runs(directory)
    if options.json:
        print(json.dumps([values(record) for record in records]))
    else:
        show(runs_text(records, directory))
