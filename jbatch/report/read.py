"""Read runs back for a report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.identity import describe
from jbatch.experiment.load import ExperimentFile
from jbatch.experiment.origin import Origin
from jbatch.experiment.overrides import override_again
from jbatch.messages import tell
from jbatch.report.runs import Record
from jbatch.run.directory import holds, read_run
from jbatch.run.goodput import read_account
from jbatch.run.metrics import read_metrics
from jbatch.run.reopen import remake


def says(file: ExperimentFile, record: Record) -> bool:
    """Return whether an experiment file describes a run in the same way as the run's own copy."""
    try:
        variant = file.variant(record.of_file)
        experiment = override_again(variant, record.overrides, record.directory)
        experiment = _counted(experiment, record.directory)
        return holds(record.directory, describe(experiment), experiment.plan.plan())
    except Mistake:
        return False


def _counted(experiment: Experiment, directory: Path) -> Experiment:
    """Return the experiment with the run's number of examples, if its plan does not say."""
    if experiment.plan.num_examples is not None:
        return experiment
    known = read_run(directory)["experiment"].get("plan", {}).get("num_examples")
    return replace(experiment, plan=replace(experiment.plan, num_examples=known))


def readable_runs(found: Sequence[Path], trusted: bool) -> list[tuple[ExperimentFile, Record]]:
    """Read all readable runs, and warn about the others.

    Raises:
        Mistake: if no run can be read.
    """
    read, mistakes = [], []
    for directory in found:
        try:
            read.append(read_record(directory, trusted))
        except Mistake as mistake:
            mistakes.append(mistake)
    if not read:
        raise mistakes[0]
    for left_out in mistakes:
        tell(f"jbatch: warning: the report leaves out a run: {left_out}")
    return read


def read_record(directory: Path, trusted: bool) -> tuple[ExperimentFile, Record]:
    """Read a run; return its experiment file and its record."""
    origin, file, experiment = remake(directory, trusted=trusted)
    return file, record_of(directory, origin, experiment)


def record_of(directory: Path, origin: Origin, experiment: Experiment) -> Record:
    """Read a run whose experiment is known."""
    experiment = _counted(experiment, directory)
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
    """Sort records by the file's variants, then by a grid's values, then by seed."""
    names = list(file.variants)

    def place(record: Record) -> tuple[int, list[tuple[str, int, float, str]], int]:
        return names.index(record.of_file), [_natural(part) for part in record.cell], record.seed

    return sorted(records, key=place)


def _natural(part: str) -> tuple[str, int, float, str]:
    """Return a sort key for "FIELD VALUE": numbers sort as numbers."""
    field, _, value = part.partition(" ")
    try:
        return field, 0, float(value), value
    except ValueError:
        return field, 1, 0.0, value
