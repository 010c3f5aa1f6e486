"""Write a run's metrics as JSON lines, and read them."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from jbatch.errors import Mistake, shown
from jbatch.files import write_whole
from jbatch.json_lines import read_json_lines
from jbatch.task.base import RESERVED, SIMPLE, SQUARED, TRACE
from jbatch.testing import point

# Fields that depend on the speed of the run, so they differ between two equal runs.
TIMED = frozenset({"seconds", "updates_per_second", "examples_per_second", "input_wait", "goodput"})


Count = Annotated[int, Meta(ge=0, lt=2**53)]
# Bounds far beyond any run's values; within them, figures can be drawn.
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
NotNegative = Annotated[float, Meta(ge=0, le=1e15)]
Positive = Annotated[float, Meta(gt=0, le=1e15)]
LARGEST = 1e38
Loss = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]


class Standing(Struct):
    """The fields of every line: the run's position."""

    update: Count
    examples: Count
    epoch: NotNegative
    seconds: Number


class Trained(Standing, tag_field="kind", tag="train"):
    """A line of a log point."""

    loss: Loss
    updates_per_second: Positive
    examples_per_second: Positive
    learning_rate: NotNegative = 0.0
    batch_size: Count = 1
    input_wait: Number = 0.0
    accuracy: Loss = 0.0
    distance: NotNegative = 0.0
    moved: NotNegative = 0.0
    squared: Loss = field(name=SQUARED, default=0.0)
    trace: Loss = field(name=TRACE, default=0.0)
    simple: Loss = field(name=SIMPLE, default=0.0)


class Evaluated(Standing, tag_field="kind", tag="eval"):
    """A line of an evaluation."""

    loss: Loss
    num_examples: Annotated[int, Meta(ge=1, lt=2**53)]
    accuracy: Loss = 0.0


class Tested(Evaluated, tag_field="kind", tag="test"):
    """A line of the test set's evaluation, of a run that evaluates on a validation set."""


class Diverged(Standing, tag_field="kind", tag="diverged"):
    """The last line of a run whose loss became NaN or infinite."""


Line = Trained | Evaluated | Tested | Diverged


class MetricsLog:
    """Appends lines to metrics.jsonl."""

    def __init__(self, directory: Path, examples: int | None):
        """Open it, and remove lines after so many examples; None for a new run removes all."""
        path = directory / "metrics.jsonl"
        last = -1 if examples is None else examples
        kept = [line for line in read_metrics(path) if line["examples"] <= last]
        if kept and kept[-1]["kind"] == "test":  # a kill came before the evaluation beside it
            kept.pop()
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.seconds_before = kept[-1]["seconds"] if kept else 0.0
        self._last = {line["kind"]: line["examples"] for line in kept}
        self._path, self._file = path, path.open("a")
        self.update = kept[-1]["update"] + 1 if kept else 0  # the first of the lines to come

    def last(self, kind: str) -> int | None:
        """Return the examples at the last line of a kind that was there before this start."""
        return self._last.get(kind)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line.

        Raises:
            Mistake: if the file was removed, because new lines would be lost.
        """
        if not os.fstat(self._file.fileno()).st_nlink:
            raise Mistake(
                f"{self._path} was removed while its run trained: restore it, or start in another "
                "run directory"
            )
        point("metrics line", self._file)
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close it; every line is flushed."""
        with suppress(OSError):  # `write` has reported a failed flush already
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl, [] if it is missing; raise Mistake if it is damaged."""
    lines = read_json_lines(path, Line)
    for number, line in enumerate(lines, 1):
        for name, value in line.items():
            if name != "kind" and type(value) not in (int, float):
                raise Mistake(
                    f"{path} line {number} is damaged ({name} is {shown(value)}): restore or "
                    "remove that file"
                )
    return lines


def scores_in(line: Mapping[str, Any]) -> list[str]:
    """Return the names of the scores in a line: the loss, and the task's own metrics."""
    return ["loss", *(name for name in line if name not in RESERVED)]


def scores_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores in a line by name."""
    return {name: line[name] for name in scores_in(line)}


def scores_text(scores: Mapping[str, float]) -> str:
    """Format scores as text: accuracies in percent, others as numbers."""
    return ", ".join(
        f"{name} {value:.2%}" if name.endswith("accuracy") else f"{name} {value:.4g}"
        for name, value in {"loss": scores["loss"], **scores}.items()
    )
