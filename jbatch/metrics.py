"""A run's metrics: JSON lines, which are read again, and TensorBoard events, to be looked at."""

import json
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.files import write_whole


class MetricsLog:
    """Appends lines to metrics.jsonl and events for TensorBoard."""

    def __init__(self, directory: Path, update: int | None):
        """Open both, cut back to what was logged up to `update`; None for a run from the start."""
        from tensorboardX import SummaryWriter

        path = directory / "metrics.jsonl"
        last = -1 if update is None else update
        kept = [line for line in read_metrics(path) if line["update"] <= last]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.seconds_before = kept[-1]["seconds"] if kept else 0.0
        evaluated = [line["update"] for line in kept if line["kind"] == "eval"]
        self.evaluated = evaluated[-1] if evaluated else None  # at which update, last
        self._file = path.open("a")
        self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=last + 1)

    def write(self, line: dict) -> None:
        """Append one line; its numbers become events at its update."""
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in line.items():
            if isinstance(value, int | float) and name != "update":
                self._events.add_scalar(f"{line['kind']}/{name}", value, line["update"])

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._events.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; none if it does not exist.

    A last line without its end was being written when the run died, and is left out.

    Raises:
        Mistake: for a line within the file that is not JSON.
    """
    if not path.exists():
        return []
    *whole, _ = path.read_text().split("\n")
    lines = []
    for number, text in enumerate(whole, 1):
        try:
            line = json.loads(text)
            lines.append(line | {"update": int(line["update"]), "kind": str(line["kind"])})
        except (ValueError, KeyError, TypeError) as error:
            raise Mistake(
                f"{path} line {number} is damaged ({error}): restore the file or remove the run"
            ) from error
    return lines
