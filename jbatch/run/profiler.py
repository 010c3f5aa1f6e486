"""Trace some calls of each phase, for xprof."""

from collections.abc import Callable
from pathlib import Path

import jax

SKIPPED = 3  # first calls of a phase, which include warm-up
TRACED = 10
MOST_PHASES = 8  # a plan can have hundreds of phases


class Profile:
    """Decides when a trace begins and ends, then begins and ends it."""

    def __init__(self, directory: Path, say: Callable[[str], None]):
        """Write one trace per phase into `directory`; `say` prints messages."""
        self._directory, self._say = directory, say
        self._phase: int | None = None
        self._phases = 0
        self._calls = 0  # of the phase
        self._tracing: int | None = None  # which phase
        self._wanted: int | None = None
        self._failed = False

    def due(self, phase: int, calls: int) -> bool:
        """Return whether to call `turn` before the next call of the step.

        Args:
            phase: the phase of the next call.
            calls: the least number of calls that the phase has.
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
        """Whether a trace is running."""
        return self._tracing is not None

    def turn(self) -> None:
        """End the running trace and begin the next; all earlier calls must be done."""
        before, self._tracing = self._tracing, self._wanted
        try:
            if before is not None:
                jax.profiler.stop_trace()
            if self._wanted is not None:
                jax.profiler.start_trace(str(self._directory / f"phase-{self._wanted + 1}"))
        except (OSError, RuntimeError) as error:  # a failed profile must not stop the run
            self._tracing, self._failed = None, True
            self._say(f"warning: profiling failed ({error}). Training continues without it")

    def close(self) -> None:
        """End the running trace, and print where the traces are."""
        self._wanted = None
        if self.tracing:
            self.turn()
        if self._phases and not self._failed:
            self._say(f"traces are in {self._directory}: pip install xprof, then run xprof on it")
