"""Being asked to stop: a flag that the training loop reads."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The run was asked to stop, has saved and can be started again."""


class StopRequest:
    """Whether somebody asked the run to stop, and how."""

    def __init__(self):
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A request that SIGTERM and the first Ctrl-C set; a second Ctrl-C is the usual one.

    Nothing is saved within a handler: it may run at any point of the loop's work.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Python lets only the main thread set handlers
        return

    def handle(number, _):
        request.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
