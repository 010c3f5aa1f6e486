"""Measure a run's time: each second counts as training, input wait or another activity."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jbatch.run.goodput import Ledger


class Clock:
    """Accounts for a run's time, from when the run began.

    Args:
        ledger: keeps the seconds.
        begun: time.perf_counter() when the run began.
        input_waited: returns the seconds that training has waited for input so far.
    """

    def __init__(self, ledger: Ledger, begun: float, input_waited: Callable[[], float]):
        self.ledger = ledger
        self.training = 0.0  # seconds since the last lap, including waits for input
        self.waiting = 0.0  # seconds of those waits
        self.until = begun  # up to when it has accounted, by time.perf_counter()
        self._input_waited, self._accounted = input_waited, 0.0

    def spend(self, what: str) -> float:
        """Add the time since the last call to `what`, and return its seconds."""
        now = time.perf_counter()
        spent, self.until = now - self.until, now
        self.ledger.add(what, spent)
        return spent

    def train(self) -> None:
        """Count the time since the last call as training and input wait."""
        self.training += self.spend("training")
        waited = self._input_waited() - self._accounted
        self._accounted += waited
        self.waiting += waited
        self.ledger.add("training", -waited)
        self.ledger.add("input wait", waited)

    @contextmanager
    def paused(self, what: str) -> Iterator[None]:
        """Count the time of the block as `what`; pending updates must be done before."""
        self.train()
        try:
            yield
        finally:
            self.spend(what)

    def lap(self) -> None:
        """Start a new lap."""
        self.training = self.waiting = 0.0
