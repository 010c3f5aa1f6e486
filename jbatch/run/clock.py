"""One clock: every second of a run is spent on training, on waiting for input, or on something."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jbatch.run.goodput import Ledger


class Clock:
    """Accounts for a run's time, from when the run began.

    Args:
        ledger: where the seconds are kept.
        begun: time.perf_counter() then.
        input_waited: seconds that training has waited for input so far.
    """

    def __init__(self, ledger: Ledger, begun: float, input_waited: Callable[[], float]):
        self.ledger = ledger
        self.training = 0.0  # seconds since the last lap, waits for input among them
        self.waiting = 0.0  # seconds of those waits
        self._until, self._input_waited, self._accounted = begun, input_waited, 0.0

    def spend(self, what: str) -> float:
        """Account for the time since the account was last brought up to date; its seconds."""
        now = time.perf_counter()
        spent, self._until = now - self._until, now
        self.ledger.add(what, spent)
        return spent

    def train(self) -> None:
        """Account for time that was training."""
        self.training += self.spend("training")
        waited = self._input_waited() - self._accounted
        self._accounted += waited
        self.waiting += waited
        self.ledger.add("training", -waited)
        self.ledger.add("input wait", waited)

    @contextmanager
    def paused(self, what: str) -> Iterator[None]:
        """Spend time on something else than training; the updates under way must be done."""
        self.train()
        try:
            yield
        finally:
            self.spend(what)

    def lap(self) -> None:
        """Begin to count anew."""
        self.training = self.waiting = 0.0
