"""Driving the compiled functions: the passes of an update, and not too many in flight."""

from collections import deque

import jax

from jbatch import compile
from jbatch.ahead import Ahead
from jbatch.compile import Setup, how
from jbatch.data.inputs import Feed
from jbatch.plan import Row
from jbatch.step import State


class InFlight:
    """Waits, at each call, for the one `most` back."""

    def __init__(self, most: int):
        self._most = most
        self._results: deque[jax.Array] = deque()

    def add(self, result: jax.Array) -> None:
        """Count a call in by one of its results, which no later call may take as donated."""
        self._results.append(result)
        if len(self._results) > self._most:
            self._results.popleft().block_until_ready()


class Driver:
    """Takes updates, one a call."""

    def __init__(self, setup: Setup, ahead: Ahead, feed: Feed):
        self._setup, self._ahead, self._feed = setup, ahead, feed
        self._in_flight = InFlight(feed.most_in_flight)
        self._batch_size, self._program = None, None
        self._sums = None

    @property
    def begun(self) -> bool:
        """Whether it has taken an update."""
        return self._program is not None

    def update(self, state: State, row: Row) -> State:
        """The state after the update that `row` plans; `state` is donated to it."""
        if row.batch_size != self._batch_size:
            self._batch_size, self._program = row.batch_size, self._ahead.program(row.batch_size)
        group, passes, apply = self._program
        told = how(row.learning_rate, row.batch_size, row.batch_size // group)
        if apply is None:
            [(layout, update)] = passes
            state, loss = update(state, told, *self._feed.arguments(row.position, layout))
        else:
            if self._sums is None:
                self._sums = compile.zero_sums(self._setup)()
            position = row.position
            for layout, accumulate in passes:
                source = self._feed.arguments(position, layout)
                self._sums, gathered = accumulate(state, self._sums, *source)
                self._in_flight.add(gathered)
                position += layout.size
            state, self._sums, loss = apply(state, self._sums, told)
        self._in_flight.add(loss)
        return state
