"""Being asked to stop, and what a run that stopped before its end says.

A command watches for SIGTERM, SIGINT and SIGHUP from its first moment on, in a thread: Python's own
handlers wait until the main thread is done with whatever compiles or reads there. A loop of updates
that is under way is asked to save and stop; at any other moment the process ends at once, since
there is nothing that a kill could harm.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, Protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """The run ended before its plan did; the message says what of it is saved."""

    exit_code: int


class Interrupted(Stopped):
    """It was asked to, or had to: start it again."""

    exit_code = 75


class NothingSaved(Stopped):
    """It was asked to before there was anything to go on from."""

    exit_code = 128 + signal.SIGINT


class PhaseEnd(Stopped):
    """It has come to the end of the phase that it was to train until."""

    exit_code = 3


class StopRequest(Protocol):
    """Whether somebody asked the run to stop."""

    listening: bool  # whether a loop asks; or else a command ends at once

    def asked(self) -> str | None:
        """By what, in this turn of the loop; to be called once in each."""

    def waiting(self) -> str | None:
        """By what, while the loop waits for something; as often as one likes."""


class _Signals:
    """Of a process that trains alone."""

    def __init__(self):
        self._name: str | None = None
        self.listening = False
        self.savings: list[Callable[[], bool]] = []  # which tell whether something is saved

    def asked(self) -> str | None:
        """The signal's name."""
        return self._name

    waiting = asked

    def remember(self, number: int, _=None) -> None:
        """Note it for the loop. Nothing is saved in here: it comes at any point of its work."""
        if self._name is not None and number == signal.SIGINT:  # a second Ctrl-C
            raise KeyboardInterrupt
        if self._name is None:
            self._name = signal.Signals(number).name
            _say(f"{self._name}: will save and stop")

    def remember_or_end(self, number: int) -> None:
        """For a command: the same while a loop listens, and the end of the process if none does."""
        if self.listening:
            with suppress(KeyboardInterrupt):
                return self.remember(number)
        return self.end(number)

    def something_saved(self) -> bool:
        """Whether a command has left anything to go on from."""
        for saved in self.savings:
            with suppress(OSError):  # of a folder that goes while it is looked at
                if saved():
                    return True
        return False

    def end(self, number: int) -> NoReturn:
        """End the process at once."""
        name, saved = signal.Signals(number).name, self.something_saved()
        _say(
            f"{name}: stopped; the same command goes on from what is saved"
            if saved
            else f"{name}: stopped before anything was saved"
        )
        if os.isatty(2):
            with suppress(OSError):
                os.write(2, b"\x1b[?25h")  # the cursor, which a bar hides
        os._exit(Interrupted.exit_code if saved else NothingSaved.exit_code)


class _Preemption:
    """Of several processes: JAX's sync point, at which all of them stop after the same update.

    JAX has a handler of SIGTERM of its own, which one of ours would silence.
    """

    listening = True

    def __init__(self):
        self._turns = itertools.count()

    def asked(self) -> str | None:
        """SIGTERM, in the one turn that all processes have agreed on."""
        from jax.experimental import multihost_utils

        reached = multihost_utils.reached_preemption_sync_point(next(self._turns))
        return "SIGTERM" if reached else None

    def waiting(self) -> str | None:
        """Never: all must stop after the same update."""
        return None


_command: _Signals | None = None  # of a process that is a command
_act: Callable[[int], None] | None = None  # what its thread does with a signal


def watch(arguments: Sequence[str]) -> None:
    """Begin to watch, as a command does first of all; in the main thread, once in a process."""
    global _command, _act
    _command = _Signals()
    for place in _places(arguments):  # before anything is imported that knows better
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
        # Of nohup: a terminal that closes is no reason to stop.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _nothing)


def _places(arguments: Sequence[str]) -> Iterator[Path]:
    """Where a command that trains may have saved something, by its words alone."""
    verb, *rest = arguments or [""]
    if verb not in ("train", "compare", "sweep"):
        return
    given = [
        after if text in ("--run-dir", "--out") else text.partition("=")[2]
        for text, after in zip(rest, [*rest[1:], ""], strict=True)
        if text.partition("=")[0] in ("--run-dir", "--out")
    ]
    if given:
        yield from map(Path, given)
    elif rest:
        stem = Path(rest[0]).stem
        yield from (Path("runs", stem), Path("runs", f"{stem}-sweep"))


def _nothing(*_) -> None:
    """The thread does it."""


@contextmanager
def acting(act: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile a command's signals do this, in a thread, and nothing else."""
    global _act
    before, _act = _act, act
    try:
        yield
    finally:
        _act = before


def saved_below(directory: Path) -> None:
    """Tell that a command saves checkpoints of runs in or below a directory."""
    if _command is not None:
        _command.savings.append(lambda: _has_checkpoint(directory))


def saved_in(directory: Path) -> None:
    """Tell that a command saves what it makes in a directory."""
    if _command is not None:
        _command.savings.append(directory.exists)


def _has_checkpoint(directory: Path) -> bool:
    """Whether there is one in a run directory, or in any below."""
    for folder, names, _ in os.walk(directory):  # which goes past what it cannot look into
        if os.path.basename(folder) == "checkpoints":
            if any(name.isdecimal() for name in names):
                return True
            names.clear()
        elif "checkpoints" in names:  # a run: nothing else in it is one
            names[:] = ["checkpoints"]
    return False


def something_saved() -> bool:
    """Whether this command, or one before it in the same places, saved anything to go on from."""
    return _command is not None and _command.something_saved()


def check_asked() -> None:
    """Between two runs of a command: Interrupted, if it was asked to stop meanwhile."""
    if _command is not None and (name := _command.asked()):
        raise Interrupted(f"{name} between two runs: saved; the same command goes on from there")


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """What a run's loop asks in every turn, once it has set `listening`."""
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
    with suppress(OSError):  # nobody reads
        os.write(2, f"jbatch: {text}\n".encode())
