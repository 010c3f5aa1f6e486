"""Being asked to stop, and what a run that stopped before its end says."""

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import jax


class Stopped(Exception):
    """The run ended before its plan did; the message says what of it is saved."""

    exit_code: int


class Interrupted(Stopped):
    """It was asked to, or had to: start it again."""

    exit_code = 75


class PhaseEnd(Stopped):
    """It has come to the end of the phase that it was to train until."""

    exit_code = 3


class StopRequest(Protocol):
    """Whether somebody asked the run to stop."""

    def asked(self) -> str | None:
        """By what, in this turn of the loop; to be called once in each."""


class _Signals:
    """Of a process that trains alone: SIGTERM and the first Ctrl-C."""

    def __init__(self):
        self._name: str | None = None

    def asked(self) -> str | None:
        """The signal's name."""
        return self._name

    def handle(self, number, _) -> None:
        """Remember it. Nothing is saved in here: it may run at any point of the loop's work."""
        self._name = signal.Signals(number).name
        os.write(2, f"jbatch: {self._name}: will save and stop\n".encode())
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C is the usual one


class _Preemption:
    """Of several processes: JAX's sync point, at which all of them stop after the same update.

    JAX has a handler of SIGTERM of its own, which one of ours would silence.
    """

    def __init__(self):
        self._turns = itertools.count()

    def asked(self) -> str | None:
        """SIGTERM, in the one turn that all processes have agreed on."""
        from jax.experimental import multihost_utils

        reached = multihost_utils.reached_preemption_sync_point(next(self._turns))
        return "SIGTERM" if reached else None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """What a run's loop asks in every turn."""
    if jax.distributed.is_initialized():
        yield _Preemption()
        return
    request = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Python lets only the main thread set handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request.handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
