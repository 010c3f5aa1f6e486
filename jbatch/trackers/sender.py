"""Tell a tracker of a run in a thread, so that it can neither stop nor slow the run."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jbatch.errors import said
from jbatch.trackers.tracker import About, Outcome, Tracker

MOST_WAITING = 10_000  # lines
SECONDS_TO_END = 15.0  # that the end of a run waits for a tracker

_hung: dict[int, Tracker] = {}  # by id; holding them keeps their ids from being used again


class Sender:
    """Sends a run's lines to one tracker, and warns once if the tracker fails or is too slow."""

    def __init__(self, name: str, tracker: Tracker, about: About, warn: Callable[[str], None]):
        """Begin.

        Args:
            name: of the tracker, for the warning.
            tracker: to send to.
            about: the run.
            warn: shows a warning.
        """
        self._name, self._tracker, self._warn = name, tracker, warn
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._over = threading.Event()  # nothing more is sent
        self._thread = threading.Thread(target=self._send, name=f"tracker {name}", daemon=True)
        if id(tracker) in _hung:
            self._give_up("left out, since it did not answer at the end of an earlier run")
            return
        self._thread.start()
        self._put(lambda: tracker.begin(about))

    def line(self, line: Mapping[str, Any]) -> None:
        """Send a line; return immediately."""
        copy = dict(line)
        self._put(lambda: self._tracker.line(copy))

    def close(self, outcome: Outcome) -> None:
        """End, and wait at most SECONDS_TO_END for what is under way."""
        self._put(lambda: self._tracker.end(outcome))
        self._put(None)
        if not self._thread.is_alive():
            return
        self._thread.join(0 if self._over.is_set() else SECONDS_TO_END)
        if self._thread.is_alive():
            _hung[id(self._tracker)] = self._tracker
            self._give_up(f"has not taken all lines {SECONDS_TO_END:g} s after the run's end")

    def _put(self, call: Callable[[], None] | None) -> None:
        if self._over.is_set():
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._give_up(f"is too slow: {MOST_WAITING:,} lines wait for it")

    def _send(self) -> None:
        while (call := self._calls.get()) is not None and not self._over.is_set():
            try:
                call()
            # A tracker may raise anything, SystemExit too.
            except BaseException as error:
                self._give_up(f"failed ({type(error).__name__}: {said(error)})")
                return

    def _give_up(self, why: str) -> None:
        if not self._over.is_set():
            self._over.set()
            self._warn(
                f"the tracker {self._name} {why}. The run goes on without it; metrics.jsonl has "
                "every line, and `jbatch export DIR --to` sends them to wandb, mlflow or trackio"
            )
