"""Compiling every phase's functions ahead, in the background while the first phase runs."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from jbatch import compile
from jbatch.compile import Setup
from jbatch.layout import Layout


class Program(NamedTuple):
    """The compiled functions of a batch size."""

    layout: Layout  # of one pass
    update: Callable | None  # where one pass makes an update
    accumulate: Callable | None  # where several do
    apply: Callable | None


class Ahead:
    """Compiles in the order of first use, one at a time, and keeps account of it."""

    def __init__(self, setup: Setup, layouts: Mapping[int, Layout]):
        self.waited = 0.0  # seconds in which the run stood still for a compilation
        self._seconds: list[float] = []
        self._pool = ThreadPoolExecutor(1, "compile")
        # A run evaluates first of all.
        self._evaluate = self._pool.submit(self._timed, compile.evaluate, setup)
        self._programs: dict[int, Future[Program]] = {
            size: self._pool.submit(self._timed, _program, setup, size, layouts[size])
            for size in layouts
        }

    def program(self, batch_size: int) -> Program:
        """The functions of a batch size; waits for them if they are not done."""
        return self._result(self._programs[batch_size])

    def evaluate(self) -> Callable:
        """`compile.evaluate`'s function; waits for it if it is not done."""
        return self._result(self._evaluate)

    def _result(self, future: Future):
        start = time.perf_counter()
        try:
            return future.result()
        finally:
            self.waited += time.perf_counter() - start

    @property
    def seconds(self) -> float:
        """Spent compiling so far, most of it in the background."""
        return sum(self._seconds)

    def close(self) -> None:
        """Drop what has not been compiled yet."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _timed(self, function: Callable, *arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self._seconds.append(time.perf_counter() - start)


def _program(setup: Setup, batch_size: int, layout: Layout) -> Program:
    if layout.size == batch_size:
        return Program(layout, compile.update(setup, layout), None, None)
    return Program(layout, None, compile.accumulate(setup, layout), compile.apply(setup))
