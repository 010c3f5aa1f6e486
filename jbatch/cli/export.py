"""`jbatch export`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import RunsCode, run_directory
from jbatch.errors import Mistake
from jbatch.messages import show

USAGE = "jbatch export DIR --to weights.safetensors"


@dataclass(frozen=True)
class Options(RunsCode):
    """Write a run's parameters to a safetensors file, and what they are to a JSON file beside it.

    For example: jbatch export runs/digits/increasing/seed-0 --to weights.safetensors
    """

    to: Path
    """The file to write; its name ends in .safetensors."""
    step: str = "last"
    """The checkpoint: last, best, or its number of examples."""

    def __post_init__(self) -> None:
        if self.to.suffix != ".safetensors":
            raise Mistake(f"--to is {self.to}: give a name that ends in .safetensors")
        if self.step not in ("last", "best") and not self.step.isdecimal():
            raise Mistake(f"--step is {self.step}: give last, best, or a number of examples")


def run(arguments: Sequence[str]) -> None:
    """Write both files."""
    directory, options = run_directory(arguments, USAGE, Options)

    from jbatch.run.export import export
    from jbatch.run.trained import load

    step = int(options.step) if options.step.isdecimal() else options.step
    model = load(directory, step, trusted=options.trust)  # type: ignore[arg-type]  # checked above
    count, numbers = export(model, directory, options.to)
    beside = options.to.with_suffix(".json")
    show(
        f"{count:,} arrays with {numbers:,} numbers, after {model.examples:,} examples, in "
        f"{options.to}; what they are in {beside}"
    )
