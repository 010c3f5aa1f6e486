"""Account for a run's wall time over all its starts. Goodput is the share spent on training."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.json_lines import read_json_lines

LOST = "lost"  # work after the checkpoint that a killed run resumed from
AWAY = "away"  # from the last line before a restart to the restart
SECONDS_BETWEEN_LINES = 30.0  # at most so much lost work counts as away


class Line(Struct):
    """The account at one time."""

    time: float
    examples: Annotated[int, Meta(ge=0)]
    seconds: dict[str, Annotated[float, Meta(ge=0, le=1e12)]]


class Ledger:
    """Keeps the time account of a run, and writes it to a file for the next start.

    Each line of the file holds the seconds so far per activity, and the examples seen. A restart
    continues from the last line up to its checkpoint.
    """

    def __init__(self, path: Path | None, examples: int, begun: float | None = None):
        """Open the account of a run that starts or resumes.

        Args:
            path: the file; None to keep the account in memory only.
            examples: seen at the checkpoint, 0 without one.
            begun: time.time() of this start; None for now.
        """
        lines = [] if path is None else _lines(path)
        self.seconds = _resumed(lines, examples, time.time() if begun is None else begun)
        if path is not None:  # drops a last line that a kill cut short
            write_whole(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = (Path(os.devnull) if path is None else path).open("a")
        self._next = 0.0

    def add(self, what: str, seconds: float) -> None:
        """Add seconds to an activity."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def due(self) -> bool:
        """Return whether the next line is due."""
        return time.monotonic() > self._next

    def write(self, examples: int) -> None:
        """Write the account after so many examples."""
        rounded = {what: round(seconds, 3) for what, seconds in self.seconds.items()}
        line = {"time": time.time(), "examples": examples, "seconds": rounded}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def close(self) -> None:
        """Close the file; every line of it is flushed."""
        with suppress(OSError):  # `write` has reported a failed flush already
            self._file.close()


def goodput(seconds: Mapping[str, float]) -> float:
    """Return training time over the time that the run was up, lost work included; 0 if empty."""
    return seconds.get("training", 0.0) / (_up(seconds) or 1.0)


def account_text(seconds: Mapping[str, float]) -> str:
    """Return the account as one line: training, the rest by size, then the time away."""
    parts = sorted(seconds.items(), key=lambda part: (part[0] != "training", -part[1]))
    named = {what: f"{what} {each:,.1f} s" for what, each in parts if each >= 0.05}
    away = f"; {named.pop(AWAY)}" if AWAY in named else ""
    spent = ", ".join(named.values())
    return f"goodput {goodput(seconds):.1%} of {_up(seconds):,.1f} s: {spent}{away}"


def read_account(path: Path) -> dict[str, float]:
    """Return the seconds per activity so far; empty if nothing is known."""
    lines = _lines(path)
    return lines[-1]["seconds"] if lines else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines; empty if the file is damaged, because a run can do without its account."""
    try:
        return read_json_lines(path, Line)
    except Mistake:
        return []


def _resumed(lines: list[dict[str, Any]], examples: int, now: float) -> dict[str, float]:
    """Return the account of a run that resumes after so many examples."""
    if not lines:
        return {}
    last = lines[-1]
    kept = next((line for line in reversed(lines) if line["examples"] <= examples), None)
    seconds = dict(kept["seconds"]) if kept else {}
    useful = _up(seconds) - seconds.get(LOST, 0.0)
    seconds[LOST] = max(_up(last["seconds"]) - useful, 0.0)
    seconds[AWAY] = last["seconds"].get(AWAY, 0.0) + max(now - last["time"], 0.0)
    return seconds


def _up(seconds: Mapping[str, float]) -> float:
    return sum(seconds.values()) - seconds.get(AWAY, 0.0)
