"""`jbatch report`."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from jbatch.cli.arguments import RunsCode, run_directory
from jbatch.errors import Mistake
from jbatch.messages import show
from jbatch.report.read import in_order, readable_runs, says

USAGE = "jbatch report DIR"


@dataclass(frozen=True)
class Options(RunsCode):
    """Write the report of a run, or of all runs below a directory, from their metrics.

    Unfinished runs are shown up to their last log line.

    For example: jbatch report runs/digits
    """


def run(arguments: Sequence[str]) -> None:
    """Write the report."""
    from jbatch.report.page import write_report

    # Making the plans again needs no accelerator.
    jax.config.update("jax_platforms", "cpu")
    directory, options = run_directory(arguments, USAGE, Options)
    found = sorted(path.parent for path in directory.glob("**/run.json"))
    if not found:
        raise Mistake(f"{directory} holds no run: give a run directory or a folder of them")
    read = readable_runs(found, options.trust)
    files = [file for file, _ in read]
    file = max(files, key=lambda file: (file.path.parent / "run.json").stat().st_mtime)
    for own, record in read:
        if own.code != file.code and not says(file, record):
            raise Mistake(
                f"{directory} holds runs of several experiment files, which cannot share a report: "
                f"{file.path} does not describe {record.directory}. Give a directory with runs of "
                "one file"
            )
    records = in_order(file, [record for _, record in read])
    title = directory.absolute().name
    if len(records) == 1:
        title = f"{records[0].variant}, seed {records[0].seed}"
    show(write_report(directory, title, file.docstring, records, file.comparison))
