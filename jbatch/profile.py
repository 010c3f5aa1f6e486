"""A trace of some calls of each phase, to be read with xprof."""

from pathlib import Path

import jax

SKIPPED = 3  # calls of a phase, which touch its programs and memory for the first time
TRACED = 10


class Profile:
    """Says when a trace begins and ends, and does both."""

    def __init__(self, directory: Path):
        """The traces go into `directory`, one of each phase."""
        self._directory = directory
        self._phase: int | None = None
        self._calls = 0  # of the phase
        self._tracing = False

    def due(self, phase: int) -> bool:
        """Whether to `turn` before the next call, which is of this phase; ask before each."""
        if phase != self._phase:
            self._phase, self._calls = phase, 0
        else:
            self._calls += 1
        wanted = SKIPPED <= self._calls < SKIPPED + TRACED
        return wanted != self._tracing

    def turn(self) -> None:
        """Begin a trace, or end the one that is under way; all calls before must be done."""
        if self._tracing:
            jax.profiler.stop_trace()
        else:
            jax.profiler.start_trace(str(self._directory / f"phase-{self._phase}"))
        self._tracing = not self._tracing

    def close(self) -> None:
        """End what is under way."""
        if self._tracing:
            self.turn()
