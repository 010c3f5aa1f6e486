"""Weights & Biases."""

import gc
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jbatch.errors import Mistake
from jbatch.trackers.tracker import About, Outcome, require, scalars


@dataclass(eq=False)
class WandB:
    """Sends lines to Weights & Biases, or to its folder in the run directory if it is offline.

    Its own variables hold (WANDB_MODE, WANDB_API_KEY, WANDB_DIR …). Raises Mistake if the library
    is not installed.

    Examples:
        >>> log = [jbatch.WandB(project="digits")]  # of jbatch.fit
    """

    project: str | None = None
    """None: the name of the experiment file."""
    entity: str | None = None
    """A user or team. None: your default."""
    _run: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require("wandb")

    def begin(self, about: About) -> None:
        """Begin or resume the run whose id is that of the run directory."""
        import wandb

        quiet = wandb.Settings(silent=True, console="off", disable_code=True)
        online = wandb.setup(quiet).settings.mode in ("online", "shared")
        # It would ask at the terminal, where the run shows its progress.
        if online and not wandb.login(prompt=False, verify=False):
            raise Mistake("nobody is logged in: run `wandb login`, or set WANDB_MODE=offline")
        self._run = wandb.init(
            project=self.project or about.project,
            entity=self.entity,
            id=about.id,
            name=about.name,
            dir=os.environ.get("WANDB_DIR") or about.directory,
            config=dict(about.values),
            notes=about.plan,
            resume="allow",
            reinit="create_new",
            settings=quiet,
        )

    def line(self, line: Mapping[str, Any]) -> None:
        """Log a line's numbers; the server leaves out updates that it has already."""
        self._run.log(scalars(line), step=line["update"])

    def end(self, outcome: Outcome) -> None:
        """Write and send what is left; a stopped run is shown as preempted."""
        if outcome == "stopped":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if outcome == "finished" else 1)


def remove_temporary() -> None:
    """Remove the temporary folders that wandb holds until Python's shutdown."""
    if "wandb" not in sys.modules:
        return
    for held in gc.get_objects():
        # One that a person wants to keep (delete=False, from Python 3.12 on) stays.
        if type(held) is tempfile.TemporaryDirectory and getattr(held, "_delete", True):
            with suppress(OSError):
                held.cleanup()
