"""`jbatch export`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import RunsCode, run_directory
from jbatch.errors import Mistake, said
from jbatch.files import expanded, has_folder
from jbatch.messages import show
from jbatch.trackers.named import TRACKERS, tracker

USAGE = "jbatch export DIR --to weights.safetensors|TRACKER"


@dataclass(frozen=True)
class Options(RunsCode):
    """Write a run's parameters to a file, or send its metrics to a tracker.

    To a .safetensors file, jbatch writes the parameters, and what they are to a JSON file beside
    it. To a tracker, it sends every line of metrics of the run, or of all runs below DIR. It sends
    no line that the tracker has already, and runs no code of the runs.

    For example: jbatch export runs/digits/increasing/seed-0 --to weights.safetensors

    For example: jbatch export runs/digits --to trackio:project=digits
    """

    to: str
    """A file whose name ends in .safetensors, or wandb, mlflow or trackio, with its fields."""
    step: str = "last"
    """The checkpoint of the parameters: last, best, or its number of examples."""

    def __post_init__(self) -> None:
        if not self.to.endswith(".safetensors") and not self.to_tracker:
            raise Mistake(
                f"--to is {self.to}: give a name that ends in .safetensors, or a tracker "
                f"({', '.join(TRACKERS)})"
            )
        if self.step not in ("last", "best") and not self.step.isdecimal():
            raise Mistake(f"--step is {self.step}: give last, best, or a number of examples")
        if self.to_tracker and self.step != "last":
            raise Mistake(f"--step {self.step} is for parameters, and --to is a tracker: drop it")

    @property
    def to_tracker(self) -> bool:
        """Whether it names a tracker."""
        return self.to.partition(":")[0] in TRACKERS


def run(arguments: Sequence[str]) -> None:
    """Write the files, or send the lines."""
    directory, options = run_directory(arguments, USAGE, Options)
    if options.to_tracker:
        _send(directory, options.to)
    else:
        _write(directory, expanded(Path(options.to)), options)


def _write(directory: Path, to: Path, options: Options) -> None:
    from jbatch.run.export import export
    from jbatch.run.trained import load

    has_folder(to)
    step = int(options.step) if options.step.isdecimal() else options.step
    model = load(directory, step, trusted=options.trust)  # type: ignore[arg-type]  # checked above
    count, numbers = export(model, directory, to)
    show(
        f"{count:,} arrays with {numbers:,} numbers, after {model.examples:,} examples, in {to}; "
        f"what they are in {to.with_suffix('.json')}"
    )


def _send(directory: Path, to: str) -> None:
    from jbatch.run.below import runs_below
    from jbatch.run.tracked import send

    found, follower = runs_below(directory), tracker(to)
    for each in found:
        try:
            count = send(each, follower)
        except (Mistake, OSError):
            raise
        except Exception as error:
            kind = type(error).__name__
            raise Mistake(f"cannot send {each} to {to} ({kind}: {said(error)})") from error
        show(f"{count:,} lines of {each} to {to}")
