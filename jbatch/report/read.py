"""Read runs back for a report, without running any code that they hold."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.experiment.stated import Stated
from jbatch.messages import tell
from jbatch.report.runs import Record
from jbatch.run.below import runs_below
from jbatch.run.directory import read_run
from jbatch.run.goodput import read_account
from jbatch.run.kept import read_plan, read_stated, text_in
from jbatch.run.metrics import read_metrics


def read_report(
    directory: Path, warn: Callable[[str], None] = tell
) -> tuple[str, Stated, list[Record]]:
    """Read what a report of all runs in and below a directory shows: title, claims and runs.

    Raises:
        Mistake: if there is no run, or the runs cannot share a report.
    """
    records = readable_runs(directory, warn)
    stated = stated_of(records)
    title = directory.absolute().name
    if len(records) == 1:
        title = f"{records[0].variant}, seed {records[0].seed}"
    return title, stated, in_order(records, list(stated.variants))


def readable_runs(directory: Path, warn: Callable[[str], None] = tell) -> list[Record]:
    """Read all readable runs in and below a directory, and warn about the others.

    Raises:
        Mistake: if there is none, or none can be read.
    """
    read, mistakes = [], []
    for run in runs_below(directory):
        try:
            read.append(read_record(run))
        except Mistake as mistake:
            mistakes.append(mistake)
    if not read:
        raise mistakes[0]
    for left_out in mistakes:
        warn(f"jbatch: warning: left out: {left_out}")
    return read


def read_record(directory: Path) -> Record:
    """Read a run; raise Mistake if its files are missing or damaged."""
    run = read_run(directory)
    origin = run["origin"] or {"variant": _named(directory)}
    cell = tuple(origin.get("cell", ()))
    if not isinstance(run["experiment"].get("seed"), int):
        raise Mistake(f"{directory}/run.json is damaged (its experiment has no seed): restore it")
    return Record(
        directory=directory,
        variant=", ".join((origin["variant"], *cell)),
        described=run["experiment"],
        plan=read_plan(directory, run["plan_digest"]),
        lines=read_metrics(directory / "metrics.jsonl"),
        environment=run["environment"],
        account=read_account(directory / "goodput.jsonl"),
        cell=cell,
        overrides=tuple(origin.get("overrides", ())),
        validated="validation" in run["digests"],
        stated=run["origin"] is not None,
        table=text_in(directory / "plan.txt"),
        parameters=run.get("parameters"),
        series=run.get("series", ""),
        point=run.get("point"),
    )


def _named(directory: Path) -> str:
    """Name a run that was made in Python by its folder, without the seed's."""
    path = directory.absolute()
    return path.parent.name if re.fullmatch(r"seed-\d+", path.name) else path.name


def stated_of(records: Sequence[Record]) -> Stated:
    """Return what the newest run's experiment file stated.

    Raises:
        Mistake: if it says something else of a run's variant than that run's own file.
    """
    states = [read_stated(record.directory) if record.stated else Stated() for record in records]
    ages = [(record.directory / "run.json").stat().st_mtime for record in records]
    both = zip(states, ages, strict=True)
    newest, _ = max(both, key=lambda each: (bool(each[0].variants), each[1]))
    for record, own in zip(records, states, strict=True):
        if own.variants and own != newest and not own.agrees(newest, record.of_file):
            raise Mistake(
                f"{record.directory} cannot share a report with newer runs here: what was stated "
                f"with them says something else of {record.of_file}, or does not have it. Give a "
                "directory with the runs of one file, or of one comparison"
            )
    return newest


def in_order(records: Sequence[Record], variants: Sequence[str]) -> list[Record]:
    """Sort records by their variants' order, then by a grid's values, then by seed."""
    places = {name: place for place, name in enumerate(variants)}

    def place(record: Record) -> tuple[int, str, list[tuple[str, int, float, str]], int]:
        of_file = places.get(record.of_file, len(places))
        return of_file, record.of_file, [_natural(part) for part in record.cell], record.seed

    return sorted(records, key=place)


def _natural(part: str) -> tuple[str, int, float, str]:
    """Return a sort key for "FIELD VALUE": numbers sort as numbers."""
    field, _, value = part.partition(" ")
    try:
        return field, 0, float(value), value
    except ValueError:
        return field, 1, 0.0, value
