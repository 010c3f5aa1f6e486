"""List runs in a table: how far each is, and how well it does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jbatch.report.runs import Record
from jbatch.run.directory import saved_examples
from jbatch.run.goodput import goodput
from jbatch.run.metrics import scores_of, scores_text
from jbatch.text import text_table


def runs_text(records: Sequence[Record], within: Path) -> str:
    """Return a table with a row per run.

    Args:
        records: the runs.
        within: the folder that their names are relative to.
    """
    header = ("run", "state", "updates", "of", "newest evaluation", "goodput")
    return text_table(header, [_row(record, within) for record in records])


def values(record: Record) -> dict[str, Any]:
    """Return what the table says of a run, for JSON; its updates are under all plans."""
    return {
        "run": str(record.directory),
        "variant": record.variant,
        "seed": record.seed,
        "state": state(record),
        "updates": updates(record),
        "planned": record.plan.num_updates,
        "scores": scores_of(record.final) if record.evaluations else {},
        "goodput": goodput(record.account) if record.account else None,
    }


def updates(record: Record) -> int:
    """Return the updates that a run has logged, and those after them up to its last checkpoint."""
    logged = record.lines[-1] if record.lines else {"update": 0, "examples": 0}
    saved = max(saved_examples(record.directory), default=0)
    later = record.plan.update_at(saved) - record.plan.update_at(logged["examples"])
    return int(logged["update"]) + max(later, 0)


def _row(record: Record, within: Path) -> tuple[str, ...]:
    found, name = values(record), record.directory.relative_to(within).as_posix()
    return (
        within.absolute().name if name == "." else name,
        found["state"],
        f"{found['updates']:,}",
        f"{found['planned']:,}",
        scores_text(found["scores"]) if found["scores"] else "",
        "" if found["goodput"] is None else f"{found['goodput']:.0%}",
    )


def state(record: Record) -> str:
    """Return whether a run is finished, diverged, trains now on this machine, or is unfinished."""
    if record.finished:
        return "finished"
    if record.diverged:
        return "diverged"
    return "trains now" if trains_now(record.directory) else "unfinished"


def trains_now(directory: Path) -> bool:
    """Return whether a process of this machine holds a run's lock, without taking it.

    To take it, even for a moment, could refuse a trainer that begins just then.
    """
    try:
        inode, locks = (
            (directory / "lock").stat().st_ino,
            Path("/proc/locks").read_text().splitlines(),
        )
    except OSError:  # no lock yet, or not Linux
        return False
    return any(" FLOCK " in line and f":{inode} " in line for line in locks)
