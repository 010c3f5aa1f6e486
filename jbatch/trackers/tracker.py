"""What a tracker is: a value that is told of a run's metrics, line by line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from jbatch.errors import Mistake

Outcome = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class About:
    """What a tracker is told of a run when it begins."""

    id: str  # 32 hexadecimal digits, the same in all starts of a run
    name: str  # for people, such as "increasing, seed 0"
    project: str  # name of the experiment file, such as "digits"
    directory: Path  # of the run
    values: Mapping[str, Any]  # field of the experiment, such as "plan.momentum" → value
    plan: str  # the printed plan
    update: int  # the first update of the lines to come; a killed run writes some again
    earlier: Sequence[Mapping[str, Any]] = ()  # lines of earlier starts, which a kill may have lost


class Tracker(Protocol):
    """Told of one run at a time, in a thread of its own, in this order."""

    def begin(self, about: About) -> None:
        """Begin to follow a run, or continue with it if `about.id` was followed before."""

    def line(self, line: Mapping[str, Any]) -> None:
        """Take a line of metrics.jsonl; its `kind` is train, eval, test or diverged."""

    def end(self, outcome: Outcome) -> None:
        """End: write what is left. A run that "stopped" may be resumed."""


class Told:
    """The last update of each kind of line that a tracker's server or file already has.

    A killed run resumes from its last checkpoint, so it writes some lines again.
    """

    def __init__(self, last: Mapping[str, int]):
        """Remember the last update by kind."""
        self._last = dict(last)

    def new(self, line: Mapping[str, Any]) -> bool:
        """Return whether the line is later than all lines of its kind, and remember it."""
        if line["update"] <= self._last.get(line["kind"], -1):
            return False
        self._last[line["kind"]] = line["update"]
        return True


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line by their names in trackers, such as "eval/loss"."""
    return {
        f"{line['kind']}/{name}": value
        for name, value in line.items()
        if isinstance(value, int | float) and name != "update"
    }


def flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return nested values by dotted names; a list as text.

    >>> flat({"plan": {"momentum": 0.9, "sizes": [16, 48]}})
    {'plan.momentum': 0.9, 'plan.sizes': '[16, 48]'}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{within}{name}.")
        else:
            plain = isinstance(value, str | int | float) or value is None
            found[f"{within}{name}"] = value if plain else str(value)
    return found


def require(library: str) -> None:
    """Raise a Mistake, which names the extra to install, if a tracker's library is missing."""
    if find_spec(library) is None:
        raise Mistake(
            f"{library} is not installed: pip install {library}, or leave out that tracker"
        )
