"""What a person sees while a run goes on: a live bar on a terminal, plain lines elsewhere."""

import sys
import time

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


class Lines:
    """Plain lines on stderr: at log points, but not more often than asked."""

    def __init__(self, seconds_between: float = 5.0):
        self._seconds_between = seconds_between
        self._last = 0.0
        self._plan: Plan | None = None

    def begin(self, label: str, plan: Plan, update: int) -> None:
        """Start with a run that has taken `update` updates."""
        self._plan, self._label = plan, label
        self._last, self._begun, self._from = (
            time.monotonic(),
            time.monotonic(),
            plan.position(update),
        )
        if update == plan.num_updates:
            self._print("is finished already")
        elif update:
            self._print(f"goes on at update {update:,}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(text)

    def advance(self, update: int) -> None:
        """After each update; cheap."""

    def logged(self, line: dict) -> None:
        """After each line of training metrics."""
        now = time.monotonic()
        if now - self._last < self._seconds_between:
            return
        self._last = now
        done = line["examples"] - self._from
        left = (self._plan.end - line["examples"]) * (now - self._begun) / max(done, 1)
        self._print(f"{_position(self._plan, line)}  {_speed(line)}  {_duration(left)} left")

    def end(self) -> None:
        """The run is over, or stopped."""

    def _print(self, text: str) -> None:
        tell(f"{self._label}: {text}")


class Bar:
    """A live bar on stderr, and a line below it that says where the run is."""

    def __init__(self):
        self._next = 0.0  # time.monotonic() from which on to draw again
        self._logged = ""

    def begin(self, label: str, plan: Plan, update: int) -> None:
        """Start with a run that has taken `update` updates."""
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

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        with while_read(sys.stderr):
            self._live.console.print(printable(text), highlight=False, markup=False)

    def advance(self, update: int) -> None:
        """After each update; looks at the clock and, a few times a second, draws."""
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

    def logged(self, line: dict) -> None:
        """After each line of training metrics."""
        self._logged = f"loss {line['loss']:.4g}  {_speed(line)}"

    def end(self) -> None:
        """The run is over, or stopped."""
        with while_read(sys.stderr):
            self._live.stop()


class Quiet:
    """Of a process that is not the first of several: what a person must know, and nothing else."""

    def __init__(self, process: int):
        self._process = process

    def begin(self, label: str, plan: Plan, update: int) -> None:
        """The first process says so."""

    def say(self, text: str) -> None:
        """Print a line."""
        tell(f"process {self._process}: {text}")

    def advance(self, update: int) -> None:
        """The first process says so."""

    def logged(self, line: dict) -> None:
        """The first process says so."""

    def end(self) -> None:
        """Nothing to end."""


def progress(seconds_between: float = 5.0) -> Lines | Bar:
    """The kind that fits stderr."""
    return Bar() if sys.stderr.isatty() else Lines(seconds_between)


def _position(plan: Plan, line: dict) -> str:
    return (
        f"epoch {line['epoch']:.1f}/{plan.num_epochs:g}  {_phase(plan, line['phase'])}"
        f"batch {line['batch_size']:,}  rate {line['learning_rate']:.3g}  loss {line['loss']:.4g}"
    )


def _phase(plan: Plan, phase: int) -> str:
    """As the plan's table counts them, from 0 to the last; nothing where there is but one."""
    last = len(plan.phases) - 1
    return f"phase {phase}/{last}  " if last else ""


def _speed(line: dict) -> str:
    updates, examples = line["updates_per_second"], line["examples_per_second"]
    waited = f"  input wait {line['input_wait']:.0%}" if line["input_wait"] else ""
    updates = f"{updates:,.0f}" if updates >= 10 else f"{updates:.2g}"
    return f"{updates} updates/s  {examples:,.0f} examples/s{waited}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
