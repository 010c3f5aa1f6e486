"""Show a run's progress: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jbatch.messages import tell, while_read
from jbatch.plan.plan import Plan
from jbatch.printable import printable
from jbatch.task.base import SIMPLE
from jbatch.text import clock, significant


class Lines:
    """Prints plain lines to stderr at log points, at most one every `seconds_between` seconds."""

    def __init__(self, seconds_between: float = 5.0):
        self._seconds_between = seconds_between
        self._last = 0.0

    def begin(self, label: str, plan: Plan, update: int) -> None:
        """Start to show a run that has taken `update` updates."""
        self._plan, self._label = plan, label
        self._last, self._begun, self._from = (
            time.monotonic(),
            time.monotonic(),
            plan.position(update),
        )
        if update == plan.num_updates:
            self._print("already finished")
        elif update:
            self._print(f"resumes at update {update:,}")

    def follow(self, plan: Plan) -> None:
        """Go on with another plan."""
        self._plan = plan

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(text)

    def advance(self, update: int) -> None:
        """Do nothing after an update."""

    def logged(self, line: dict[str, Any]) -> None:
        """Print a line of training metrics, unless the last one was just now."""
        now = time.monotonic()
        if now - self._last < self._seconds_between:
            return
        self._last = now
        done = line["examples"] - self._from
        left = (self._plan.end - line["examples"]) * (now - self._begun) / max(done, 1)
        self._print(f"{_position(self._plan, line)}  {_speed(line)}  {clock(left)} left")

    def end(self) -> None:
        """Do nothing: every line is printed already."""

    def _print(self, text: str) -> None:
        tell(f"{self._label}: {text}")


class Bar:
    """Draws a live bar on stderr, and a line below it with phase, batch size, rate and loss."""

    def __init__(self) -> None:
        self._next = 0.0  # time.monotonic() of the next redraw
        self._logged = ""

    def begin(self, label: str, plan: Plan, update: int) -> None:
        """Start to show a run that has taken `update` updates."""
        self._plan = plan
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        done = plan.position(update)
        self._bar.add_task(escape(printable(label)), total=plan.end, completed=done)
        self._where = Text("compiling")
        self._live = Live(
            Group(self._bar, self._where), console=Console(stderr=True), transient=True
        )
        with while_read(sys.stderr):
            self._live.start()

    def follow(self, plan: Plan) -> None:
        """Go on with another plan."""
        self._plan = plan

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        with while_read(sys.stderr):
            self._live.console.print(printable(text), highlight=False, markup=False)

    def advance(self, update: int) -> None:
        """Redraw after an update, at most five times a second."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.2
        row = self._plan.at(update)
        self._where.plain = (
            f"{_phase(self._plan, row.phase)}batch {row.batch_size:,}  "
            f"rate {row.learning_rate:.3g}  {self._logged}"
        )
        self._bar.update(self._bar.task_ids[0], completed=row.position)

    def logged(self, line: dict[str, Any]) -> None:
        """Keep a line of training metrics for the next redraw."""
        self._logged = f"loss {line['loss']:.4g}{_noise(line)}  {_speed(line)}"

    def end(self) -> None:
        """Remove the bar when the run ends or stops."""
        with while_read(sys.stderr):
            self._live.stop()


class Quiet:
    """Prints messages only: for the processes other than the first."""

    def __init__(self, process: int):
        self._process = process

    def begin(self, label: str, plan: Plan, update: int) -> None:
        """Do nothing: the first process shows this."""

    def follow(self, plan: Plan) -> None:
        """Do nothing: the first process shows this."""

    def say(self, text: str) -> None:
        """Print a line."""
        tell(f"process {self._process}: {text}")

    def advance(self, update: int) -> None:
        """Do nothing: the first process shows this."""

    def logged(self, line: dict[str, Any]) -> None:
        """Do nothing: the first process shows this."""

    def end(self) -> None:
        """Do nothing."""


def progress(seconds_between: float = 5.0) -> Lines | Bar:
    """Return a `Bar` if stderr is a terminal, and `Lines` otherwise."""
    return Bar() if sys.stderr.isatty() else Lines(seconds_between)


def _position(plan: Plan, line: dict[str, Any]) -> str:
    return (
        f"{_place(plan, line)}  {_phase(plan, line['phase'])}"
        f"batch {line['batch_size']:,}  rate {line['learning_rate']:.3g}  loss {line['loss']:.4g}"
        f"{_noise(line)}"
    )


def _place(plan: Plan, line: dict[str, Any]) -> str:
    """Return how far a run is, in the plan's unit: "epoch 3.0/50", "1.2B/4.8B tokens"."""
    measure = plan.measure
    if measure.unit == "epochs":
        done = min(line["epoch"], plan.num_epochs)  # the last update may end beyond
        return f"epoch {done:.1f}/{plan.num_epochs:g}"
    done = measure.number(measure.at(line["examples"]))
    return f"{done}/{measure.number(plan.length)} {measure.unit}"


def _phase(plan: Plan, phase: int) -> str:
    """Return the phase's number, as the plan's table has it; empty if the plan has one phase."""
    phases = plan.phases
    return f"phase {phases[phase].number}/{len(phases)}  " if len(phases) > 1 else ""


def _noise(line: dict[str, Any]) -> str:
    """Return the measured gradient noise scale, if the line has it."""
    return f"  gradient noise {significant(line[SIMPLE], 3)}" if SIMPLE in line else ""


def _speed(line: dict[str, Any]) -> str:
    updates, examples = (
        significant(line[f"{what}_per_second"], 2) for what in ("updates", "examples")
    )
    waited = f"  input wait {line['input_wait']:.0%}" if line["input_wait"] else ""
    return f"{updates} updates/s  {examples} examples/s{waited}"
