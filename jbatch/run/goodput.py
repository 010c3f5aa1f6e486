"""Where a run's wall time went, over all its starts: the part that trained is its goodput."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.json_lines import read_json_lines

LOST = "lost"  # work that a kill took, since it was after the checkpoint that was gone on from
AWAY = "away"  # from the last sign of life before a restart to the restart
SECONDS_BETWEEN_LINES = 30.0  # at most so much work before a kill counts as away, not as lost


class Line(Struct):
    """Where the account stood at a time."""

    time: float
    examples: Annotated[int, Meta(ge=0)]
    seconds: dict[str, Annotated[float, Meta(ge=0, le=1e12)]]


class Ledger:
    """Keeps the account of a run, and writes it down for the next start.

    Each line of the file holds all seconds so far, by what they were spent on, and the examples
    seen. A restart goes on from the last line of the checkpoint that it restored.
    """

    def __init__(self, path: Path | None, examples: int, begun: float | None = None):
        """Open it for a run that goes on.

        Args:
            path: of the file; None to keep the account in memory.
            examples: after which it goes on.
            begun: time.time() of this start; None for now.
        """
        lines = [] if path is None else _lines(path)
        self.seconds = _resumed(lines, examples, time.time() if begun is None else begun)
        if path is not None:  # without the end that a kill has cut
            write_whole(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = (Path(os.devnull) if path is None else path).open("a")
        self._next = 0.0

    def add(self, what: str, seconds: float) -> None:
        """Count seconds that were spent on something."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def due(self) -> bool:
        """Whether a line should be written again."""
        return time.monotonic() > self._next

    def write(self, examples: int) -> None:
        """Write down where the account stands after so many examples."""
        rounded = {what: round(seconds, 3) for what, seconds in self.seconds.items()}
        line = {"time": time.time(), "examples": examples, "seconds": rounded}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def close(self) -> None:
        """Close the file; every line of it is flushed."""
        with suppress(OSError):  # what could not be flushed was said when it was written
            self._file.close()


def goodput(seconds: Mapping[str, float]) -> float:
    """Training over all of the time that the run was up, what was lost too; 0 of nothing."""
    return seconds.get("training", 0.0) / (_up(seconds) or 1.0)


def account_text(seconds: Mapping[str, float]) -> str:
    """The account in a line: training, then the rest by size, and last the time away."""
    first = {"training": 0, AWAY: 2}
    parts = sorted(seconds.items(), key=lambda part: (first.get(part[0], 1), -part[1]))
    named = ", ".join(f"{what} {spent:,.1f} s" for what, spent in parts if spent >= 0.05)
    return f"goodput {goodput(seconds):.1%} of {_up(seconds):,.1f} s: {named}"


def read_account(path: Path) -> dict[str, float]:
    """Seconds by what they were spent on, as far as the run is; empty if nothing is known."""
    lines = _lines(path)
    return lines[-1]["seconds"] if lines else {}


def _lines(path: Path) -> list[dict]:
    """Those that are whole: an account is not worth a run."""
    try:
        return read_json_lines(path, Line)
    except Mistake:
        return []


def _resumed(lines: list[dict], examples: int, now: float) -> dict[str, float]:
    """The account with which a run goes on after so many examples."""
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
