"""Call the compiled passes of each update, with a limit on passes in flight."""

from collections import deque
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jbatch.data.inputs import Feed
from jbatch.plan.plan import Row
from jbatch.step import programs
from jbatch.step.aot import Ahead, Program
from jbatch.step.programs import Setup, how, told
from jbatch.step.pure import State, Sums

BETWEEN = 16  # updates from one that is cut in two to the next


class InFlight:
    """Limits the number of passes in flight to `most`."""

    def __init__(self, most: int):
        self._most = most
        self._waiting = 0
        self._calls: deque[tuple[jax.Array, int]] = deque()

    def add(self, result: jax.Array, passes: int = 1, *, long: bool = False) -> None:
        """Add a call, then wait until at most `most` passes are in flight.

        The last two calls may always be in flight, however many passes they have; of long calls,
        the last one alone.

        Args:
            result: a result of the call, which no later call may donate.
            passes: the call's number of passes.
            long: whether it takes long enough to hide what the host does before the next one.
        """
        self._calls.append((result, passes))
        self._waiting += passes
        while len(self._calls) > (1 if long else 2) and (long or self._waiting > self._most):
            result, passes = self._calls.popleft()
            self._waiting -= passes
            result.block_until_ready()


def measures(update: int) -> bool:
    """Return whether an update of one pass on one device is cut in two, to measure its noise."""
    return update % BETWEEN == 0


class Driver:
    """Takes updates, in each call as many of them, or of their passes, as the program may."""

    def __init__(
        self, setup: Setup, ahead: Ahead, feed: Feed, cut: Callable[[int], bool] = measures
    ):
        """Prepare to take updates; those that `cut` names are cut in two where one has one part."""
        self._setup, self._ahead, self._feed, self._cut = setup, ahead, feed, cut
        self._in_flight = InFlight(feed.most_in_flight)
        self._batch_size: int | None = None
        self._program: Program | None = None
        self._sums: Sums | None = None

    @property
    def begun(self) -> bool:
        """Whether it has taken an update."""
        return self._program is not None

    def most(self, batch_size: int) -> int:
        """Return the largest number of updates that one call takes at a batch size."""
        program = self._ahead.program(batch_size)
        return 1 if program.apply else program.in_call.most

    def update(self, state: State, rows: Sequence[Row]) -> State:
        """Take the updates in `rows`, and return the new state; `state` is donated.

        The rows share one batch size and one epoch, and there are at most `most` of them. One that
        is cut in two is alone.
        """
        row = rows[0]
        if self._program is None or row.batch_size != self._batch_size:
            self._batch_size, self._program = row.batch_size, self._ahead.program(row.batch_size)
        passes, (most, long), calls, apply, halves = self._program
        groups = row.batch_size // passes.calls[0].layout.group
        held = self._setup.learner.held
        hows = [
            how(each.learning_rate, groups, row.batch_size, *(getattr(each, name) for name in held))
            for each in rows
        ]
        if apply is None:
            [(layout, update)] = calls.items()
            arguments = self._feed.arguments(row.position, layout)
            if halves is not None and self._cut(row.update):
                update = halves
            state, loss = update(state, told(self._setup, hows), *arguments)
        else:
            if self._sums is None:
                # As compiled ahead, for images of this phase.
                self._sums = programs.zero_sums(self._setup.at(row.batch_size))()
            for position, layout, count in passes.in_calls(row.position, most):
                source = self._feed.arguments(position, layout)
                add, several = calls[layout], np.int32(count)
                self._sums, gathered = add(state, self._sums, several, *source)
                self._in_flight.add(gathered, count, long=long)
            state, self._sums, loss = apply(state, self._sums, hows[0])
        self._in_flight.add(loss, len(rows), long=long)
        return state
