"""A trace of some calls of each phase, to be read with xprof."""

from collections.abc import Callable
from pathlib import Path

import jax

SKIPPED = 3  # calls of a phase, which touch its programs and memory for the first time
TRACED = 10
MOST_PHASES = 8  # a smooth plan has hundreds


class Profile:
    """Says when a trace begins and ends, and does both."""

    def __init__(self, directory: Path, say: Callable[[str], None]):
        """The traces go into `directory`, one of each phase; `say` tells a person."""
        self._directory, self._say = directory, say
        self._phase: int | None = None
        self._phases = 0
        self._calls = 0  # of the phase
        self._tracing: int | None = None  # which phase
        self._wanted: int | None = None
        self._failed = False

    def due(self, phase: int, calls: int) -> bool:
        """Whether to `turn` before the next call.

        Args:
            phase: the next call's.
            calls: that the phase has in all, at least.
        """
        if phase != self._phase:
            self._phase, self._calls = phase, 0
            self._phases += 1
        else:
            self._calls += 1
        first = min(SKIPPED, calls - 1)
        wanted = first <= self._calls < first + TRACED and self._phases <= MOST_PHASES
        self._wanted = phase if wanted else None
        return self._wanted != self._tracing and not self._failed

    @property
    def tracing(self) -> bool:
        """Whether what runs now is traced."""
        return self._tracing is not None

    def turn(self) -> None:
        """End the trace that is under way, begin the next; all calls before must be done."""
        before, self._tracing = self._tracing, self._wanted
        try:
            if before is not None:
                jax.profiler.stop_trace()
            if self._wanted is not None:
                jax.profiler.start_trace(str(self._directory / f"phase-{self._wanted}"))
        except (OSError, RuntimeError) as error:  # a run is worth more than its profile
            self._tracing, self._failed = None, True
            self._say(f"warning: profiling has failed, and training goes on ({error})")

    def close(self) -> None:
        """End what is under way, and say where it is."""
        self._wanted = None
        if self.tracing:
            self.turn()
        if self._phases and not self._failed:
            self._say(f"traces are in {self._directory}: pip install xprof, then xprof with it")
