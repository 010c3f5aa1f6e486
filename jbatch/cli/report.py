"""`jbatch report`."""

from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import run_directory
from jbatch.errors import Mistake
from jbatch.messages import show
from jbatch.report.read import in_order, readable_runs, stated_of

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
    found = sorted(path.parent for path in directory.glob("**/run.json"))
    if not found:
        raise Mistake(f"{directory} holds no run: give a run directory or a folder of them")
    records = readable_runs(found)
    stated = stated_of(records)
    records = in_order(records, list(stated.variants))
    title = directory.absolute().name
    if len(records) == 1:
        title = f"{records[0].variant}, seed {records[0].seed}"
    show(write_report(directory, title, stated.docstring, records, stated.comparison))
