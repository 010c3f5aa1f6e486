"""Trackio."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jbatch.trackers.tracker import About, Outcome, Told, require, scalars


@dataclass(eq=False)
class Trackio:
    """Sends lines to Trackio's files, or to a Space; raises Mistake if it is not installed.

    Examples:
        >>> log = [jbatch.Trackio(project="digits")]  # of jbatch.fit
    """

    project: str | None = None
    """None: the name of the experiment file."""
    space: str | None = None
    """A Hugging Face Space. None: the files in TRACKIO_DIR, or else in its default folder."""
    _run: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require("trackio")

    def begin(self, about: About) -> None:
        """Begin or resume the run; its name ends with the first digits of the run's id."""
        import trackio
        import trackio.run

        for module in (trackio, trackio.run, trackio.utils):
            # Trackio prints to stdout, where commands write their results.
            module.print = _print
        project, name = self.project or about.project, f"{about.name} {about.id[:6]}"
        self._run = trackio.init(
            project=project,
            name=name,
            space_id=self.space,
            config={**about.values, "plan": about.plan, "directory": str(about.directory)},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self._told = Told(_last(project, name) if self.space is None else {})
        for line in about.earlier if self.space is None else ():
            self.line(line)

    def line(self, line: Mapping[str, Any]) -> None:
        """Log a line's numbers at its update."""
        if self._told.new(line):
            self._run.log(scalars(line), step=line["update"])

    def end(self, outcome: Outcome) -> None:
        """Write and send what is left."""
        self._run.finish()


def _print(*text: object, **how: Any) -> None:
    print(*text, **how | {"file": sys.stderr})


def _last(project: str, name: str) -> dict[str, int]:
    """Return the last update of each kind of line that the files have."""
    from trackio.sqlite_storage import SQLiteStorage

    return {
        key.partition("/")[0]: logged["step"]
        for logged in SQLiteStorage.get_logs(project, name)
        for key in logged
        if key.endswith("/epoch")
    }
