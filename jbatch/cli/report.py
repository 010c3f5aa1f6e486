"""`jbatch report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from jbatch.cli.arguments import RunsCode, remake, run_directory
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.load import ExperimentFile
from jbatch.experiment.overrides import override_again
from jbatch.messages import show, tell
from jbatch.report.runs import Record
from jbatch.run.directory import Origin, holds, read_run
from jbatch.run.goodput import read_account
from jbatch.run.metrics import read_metrics

USAGE = "jbatch report DIR"


@dataclass(frozen=True)
class Options(RunsCode):
    """Write the report of a run, or of all runs below a directory, from their metrics alone.

    Runs under way are shown as far as they are.

    For example: jbatch report runs/digits
    """


def run(arguments: Sequence[str]) -> None:
    """Write the report."""
    from jbatch.report.page import write_report

    jax.config.update("jax_platforms", "cpu")  # plans are made again, on no device
    directory, options = run_directory(arguments, USAGE, Options)
    found = sorted(path.parent for path in directory.glob("**/run.json"))
    if not found:
        raise Mistake(f"{directory} holds no run: give a run directory, or one with runs below it")
    files, records = zip(*_readable(found, options.trust), strict=True)
    file = max(files, key=lambda file: (file.path.parent / "run.json").stat().st_mtime)
    for own, record in zip(files, records, strict=True):
        if own.code != file.code and not _says(file, record):
            raise Mistake(
                f"{directory} holds runs of several experiment files, which make no one report: "
                f"{file.path} does not say what {record.directory} is; give a directory of one of "
                "them"
            )
    records = in_order(file, records)
    title = directory.absolute().name
    if len(records) == 1:
        title = f"{records[0].variant}, seed {records[0].seed}"
    show(write_report(directory, title, file.docstring, records, file.comparison))


def _says(file: ExperimentFile, record: Record) -> bool:
    """Whether an experiment file says of a run what its own file, an older text of it, said."""
    try:
        variant = file.variant(record.of_file)
        experiment = override_again(variant, record.overrides, record.directory)
        return holds(record.directory, experiment, experiment.plan.plan())
    except Mistake:
        return False


def _readable(found: Sequence[Path], trusted: bool) -> list[tuple[ExperimentFile, Record]]:
    """The runs that can be read; those that cannot are named. Mistake if there is none."""
    read, mistakes = [], []
    for directory in found:
        try:
            read.append(read_record(directory, trusted))
        except Mistake as mistake:
            mistakes.append(mistake)
    if not read:
        raise mistakes[0]
    for mistake in mistakes:
        tell(f"jbatch: warning: a run is left out: {mistake}")
    return read


def read_record(directory: Path, trusted: bool) -> tuple[ExperimentFile, Record]:
    """A run's experiment file, and the run read back."""
    origin, file, experiment = remake(directory, trusted=trusted)
    return file, record_of(directory, origin, experiment)


def record_of(directory: Path, origin: Origin, experiment: Experiment) -> Record:
    """A run of a known experiment, read back."""
    return Record(
        directory=directory,
        variant=origin.name,
        cell=origin.cell,
        overrides=origin.overrides,
        experiment=experiment,
        plan=experiment.plan.plan(),
        lines=read_metrics(directory / "metrics.jsonl"),
        environment=read_run(directory)["environment"],
        account=read_account(directory / "goodput.jsonl"),
    )


def in_order(file: ExperimentFile, records: Sequence[Record]) -> list[Record]:
    """Records in the order of the file's variants, then of a grid's values, then of seeds."""
    names = list(file.variants)

    def place(record: Record) -> tuple:
        return names.index(record.of_file), [_natural(part) for part in record.cell], record.seed

    return sorted(records, key=place)


def _natural(part: str) -> tuple:
    """By which the values of a field are in order: as numbers, if they are numbers."""
    field, _, value = part.partition(" ")
    try:
        return field, 0, float(value), value
    except ValueError:
        return field, 1, 0.0, value
