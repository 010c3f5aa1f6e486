"""A run's trackers: what they are told of it, and when they end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jbatch.distributed.preemption import Stopped
from jbatch.run.directory import read_run
from jbatch.run.kept import read_plan, text_in
from jbatch.run.metrics import read_metrics
from jbatch.trackers.named import name_of
from jbatch.trackers.sender import Sender
from jbatch.trackers.tensorboard import TensorBoard
from jbatch.trackers.tracker import About, Outcome, Tracker, flat

Tell = Callable[[Mapping[str, Any]], None]


def about(directory: Path, update: int) -> About:
    """Return what trackers are told of the run in a directory, after so many updates."""
    run, path = read_run(directory), directory.absolute()
    origin = run["origin"]
    variant = ", ".join((origin["variant"], *origin.get("cell", ()))) if origin else path.name
    file = origin and origin.get("file")
    return About(
        id=run["id"],
        name=f"{variant}, seed {run['experiment'].get('seed')}",
        project=Path(file).stem if file else "jbatch",
        directory=path,
        values=flat(run["experiment"]),
        plan=text_in(directory / "plan.txt"),
        update=update,
    )


@contextmanager
def tracked(
    directory: Path, given: Sequence[Tracker], update: int, warn: Callable[[str], None]
) -> Iterator[Tell]:
    """Tell TensorBoard and the given trackers of a run until the end of the block."""
    earlier = read_metrics(directory / "metrics.jsonl") if given and update else []
    told = replace(about(directory, update), earlier=tuple(earlier))
    senders = [Sender(name_of(each), each, told, warn) for each in (TensorBoard(), *given)]

    def tell(line: Mapping[str, Any]) -> None:
        for sender in senders:
            sender.line(line)

    outcome: Outcome = "failed"
    try:
        yield tell
        outcome = "finished"
    except Stopped:
        outcome = "stopped"
        raise
    finally:
        for sender in senders:
            sender.close(outcome)


def send(directory: Path, tracker: Tracker) -> int:
    """Send all lines of a run to a tracker, which knows those that it has; return their number.

    Raises:
        Mistake: if the run's files are missing or damaged.
    """
    lines = read_metrics(directory / "metrics.jsonl")
    told = about(directory, 0)
    tracker.begin(told)
    for line in lines:
        tracker.line(line)
    end = read_plan(directory, read_run(directory)["plan_digest"]).end
    tracker.end("finished" if lines and lines[-1]["examples"] == end else "stopped")
    return len(lines)
