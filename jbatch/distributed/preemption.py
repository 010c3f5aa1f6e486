"""Handle signals: stop a run early, and report what is saved.

A command watches for SIGTERM, SIGINT and SIGHUP in a thread, because Python's own handlers wait for
the main thread, which may be compiling or reading. During the training loop a signal asks the loop
to save and stop. At any other time it ends the process immediately, because nothing can be lost.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """The run ended before its plan; the message says whether it is saved."""

    exit_code: int


class Interrupted(Stopped):
    """The run stopped on a signal or a failure; the same command resumes it."""

    exit_code = 75


class NothingSaved(Stopped):
    """The run stopped on a signal before it saved anything."""

    exit_code = 128 + signal.SIGINT


class PhaseEnd(Stopped):
    """The run reached the end of the phase given by `until_phase`."""

    exit_code = 3


class StopRequest(Protocol):
    """Tells the loop whether the run was asked to stop."""

    listening: bool  # whether a loop asks; if not, a signal ends the command immediately

    def asked(self) -> str | None:
        """Return the signal's name, or None; call it once in each turn of the loop."""

    def waiting(self) -> str | None:
        """Return the signal's name, or None; call it any number of times during a wait."""


class _Signals:
    """The stop request of a process that trains alone."""

    def __init__(self) -> None:
        self._name: str | None = None
        self.listening = False
        self.savings: list[Callable[[], bool]] = []  # each returns whether something is saved

    def asked(self) -> str | None:
        """Return the signal's name, or None."""
        return self._name

    waiting = asked

    def remember(self, number: int, _: FrameType | None = None) -> None:
        """Record the signal for the loop, which saves; a handler can interrupt it anywhere."""
        if self._name is not None and number == signal.SIGINT:  # a second Ctrl-C
            raise KeyboardInterrupt
        if self._name is None:
            self._name = signal.Signals(number).name
            _say(f"{self._name}: saving, then stopping")

    def remember_or_end(self, number: int) -> None:
        """Record the signal if a loop listens; otherwise end the process."""
        if self.listening:
            with suppress(KeyboardInterrupt):
                self.remember(number)
                return
        self.end(number)

    def something_saved(self) -> bool:
        """Return whether the command saved anything to resume from."""
        for saved in self.savings:
            with suppress(OSError):  # the folder may be removed during the check
                if saved():
                    return True
        return False

    def end(self, number: int) -> NoReturn:
        """End the process immediately, and report whether anything is saved."""
        name, saved = signal.Signals(number).name, self.something_saved()
        _say(
            f"{name}: stopped. Run the same command to resume from the last checkpoint"
            if saved
            else f"{name}: stopped before anything was saved"
        )
        if os.isatty(2):
            with suppress(OSError):
                os.write(2, b"\x1b[?25h")  # show the cursor, which the bar hides
        os._exit(Interrupted.exit_code if saved else NothingSaved.exit_code)


class _Preemption:
    """The stop request of several processes: JAX's sync point stops all after the same update.

    It sets no handler, because a handler for SIGTERM would replace JAX's own.
    """

    listening = True

    def __init__(self) -> None:
        self._turns = itertools.count()

    def asked(self) -> str | None:
        """Return "SIGTERM" in the turn that all processes agreed on, and None in any other."""
        from jax.experimental import multihost_utils

        reached = multihost_utils.reached_preemption_sync_point(next(self._turns))
        return "SIGTERM" if reached else None

    def waiting(self) -> str | None:
        """Return None: all processes must stop after the same update."""
        return None


_command: _Signals | None = None  # None if the process is not a command
_act: Callable[[int], None] | None = None  # called in the thread with each signal


def watch(arguments: Sequence[str]) -> None:
    """Watch for signals. A command calls it first, in the main thread, once per process."""
    global _command, _act
    _command = _Signals()
    for place in _places(arguments):  # a guess, until the run directory is known
        saved_below(place)
    _act = _command.remember_or_end
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def act() -> None:
        while number := os.read(reader, 1):
            _act(number[0])

    threading.Thread(target=act, name="signals", daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        # nohup ignores SIGHUP, so that the command survives a closed terminal.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _nothing)


def _places(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the folders where a training command may have saved, judging by its arguments."""
    verb, *rest = arguments or [""]
    if verb not in ("train", "compare", "sweep") or not rest:
        return
    given = [
        after if text in ("--run-dir", "--out") else text.partition("=")[2]
        for text, after in zip(rest, [*rest[1:], ""], strict=True)
        if text.partition("=")[0] in ("--run-dir", "--out")
    ]
    if given:
        yield from map(Path, given)
    else:
        stem = Path(rest[0]).stem
        yield from (Path("runs", stem), Path("runs", f"{stem}-sweep"))


def _nothing(*_: object) -> None:
    """Do nothing: the thread handles the signal."""


@contextmanager
def acting(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` in a thread for each signal of a command during the block, and do nothing else."""
    global _act
    before, _act = _act, act
    try:
        yield
    finally:
        _act = before


def saved_below(directory: Path) -> None:
    """Record that the command saves checkpoints in or below a directory."""
    if _command is not None:
        _command.savings.append(lambda: _has_checkpoint(directory))


def saved_in(directory: Path) -> None:
    """Record that the command creates a directory when it saves."""
    if _command is not None:
        _command.savings.append(directory.exists)


def _has_checkpoint(directory: Path) -> bool:
    """Return whether a run directory, in or below `directory`, has a checkpoint."""
    for folder, names, _ in os.walk(directory):  # skips folders that it cannot read
        if os.path.basename(folder) == "checkpoints":
            if any(name.isdecimal() for name in names):
                return True
            names.clear()
        elif "checkpoints" in names:  # a run directory: skip its other folders
            names[:] = ["checkpoints"]
    return False


def something_saved() -> bool:
    """Return whether this command, or an earlier one in the same folders, saved anything."""
    return _command is not None and _command.something_saved()


def check_asked() -> None:
    """Raise Interrupted if a signal came; called between two runs of a command."""
    if _command is not None and (name := _command.asked()):
        raise Interrupted(f"{name} between two runs: saved. Run the same command to resume")


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yield the stop request that a run's loop asks in every turn, after it sets `listening`."""
    jax = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        yield _Preemption()
        return
    if _command is not None:
        try:
            yield _command
        finally:
            _command.listening = False
        return
    request = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Python lets only the main thread set handlers
        return
    before = {number: signal.signal(number, request.remember) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    with suppress(OSError):  # stderr may be closed
        os.write(2, f"jbatch: {text}\n".encode())
