"""`jbatch report`."""

from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import run_directory
from jbatch.messages import show
from jbatch.report.read import in_order, readable_runs, stated_of
from jbatch.run.directory import runs_below

USAGE = "jbatch report DIR"


@dataclass(frozen=True)
class Options:
    """Write the report of a run, or of all runs below a directory, from their metrics.

    Unfinished runs are shown up to their last log line. No code of the runs is run.

    For example: jbatch report runs/digits
    """


def run(arguments: Sequence[str]) -> None:
    """Write the report."""
    from jbatch.report.page import write_report

    directory, _ = run_directory(arguments, USAGE, Options)
    records = readable_runs(runs_below(directory))
    stated = stated_of(records)
    records = in_order(records, list(stated.variants))
    title = directory.absolute().name
    if len(records) == 1:
        title = f"{records[0].variant}, seed {records[0].seed}"
    show(write_report(directory, title, stated.docstring, records, stated.comparison))
