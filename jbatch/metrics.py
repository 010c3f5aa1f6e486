"""A run's metrics: JSON lines, which are read again, and TensorBoard events, to be looked at."""

import json
from contextlib import suppress
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.json_lines import read_json_lines
from jbatch.tensorboard import Events

# What of a line depends on how fast a run went, and not on the run alone.
TIMED = frozenset({"seconds", "updates_per_second", "examples_per_second", "input_wait", "goodput"})


_STANDING = ("update", "examples", "epoch", "seconds")
NUMBERS = {  # that a line of each kind has at least
    "train": (*_STANDING, "loss", "accuracy", "updates_per_second"),
    "eval": (*_STANDING, "loss", "accuracy", "num_examples"),
    "diverged": _STANDING,
}


class MetricsLog:
    """Appends lines to metrics.jsonl and events for TensorBoard."""

    def __init__(self, directory: Path, examples: int | None):
        """Open both, cut back to what was logged by so many examples; None for a new run."""
        path = directory / "metrics.jsonl"
        last = -1 if examples is None else examples
        kept = [line for line in read_metrics(path) if line["examples"] <= last]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.seconds_before = kept[-1]["seconds"] if kept else 0.0
        evaluated = [line["examples"] for line in kept if line["kind"] == "eval"]
        self.evaluated = evaluated[-1] if evaluated else None  # after how many examples, last
        self._file = path.open("a")
        update = kept[-1]["update"] + 1 if kept else 0
        self._events = Events(directory / "tensorboard", update)

    def write(self, line: dict) -> None:
        """Append one line; its numbers become events at its update."""
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        scalars = {
            f"{line['kind']}/{name}": value
            for name, value in line.items()
            if isinstance(value, int | float) and name != "update"
        }
        self._events.write(line["update"], scalars)

    def close(self) -> None:
        """Close both; every line is flushed."""
        for file in (self._file, self._events):
            with suppress(OSError):  # what could not be flushed was said when it was written
                file.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; none if it does not exist. Mistake if it is damaged."""
    lines = read_json_lines(path)
    for number, line in enumerate(lines, 1):
        numbers = NUMBERS.get(line.get("kind"))
        if numbers is None or not all(isinstance(line.get(name), int | float) for name in numbers):
            raise Mistake(
                f"{path} line {number} is damaged (it is no line of metrics): restore or remove "
                "that file"
            )
    return lines
