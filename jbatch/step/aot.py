"""Compile the functions of all phases ahead, in the background while the first phase runs."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

from jbatch.devices.spmd import Executable
from jbatch.plan.passes import Apply, Passes
from jbatch.step import programs
from jbatch.step.programs import Evaluate, Setup

THREADS = "compile"  # prefix of the threads' names

Result = TypeVar("Result")


def compiling() -> bool:
    """Return whether a background thread is compiling. Nothing can stop it."""
    return any(thread.name.startswith(THREADS) for thread in threading.enumerate())


class Program(NamedTuple):
    """The compiled functions of a batch size."""

    passes: Passes
    calls: tuple[Executable, ...]  # of each pass
    apply: Executable | None  # None where the only pass is the whole update
    halves: Executable | None = None  # None where no update needs it for its noise to be measured


class Ahead:
    """Compiles in the order of first use, one at a time."""

    def __init__(
        self, setup: Setup, passes: Mapping[int, Passes], evaluated: Sequence[Setup] | None = None
    ):
        """Start to compile.

        Args:
            setup: of updates.
            passes: of each batch size, the current phase first, then the later ones.
            evaluated: the setups of evaluations; None for `setup` alone.
        """
        self._seconds: list[float] = []
        self._pool = ThreadPoolExecutor(1, THREADS)
        # First, because a run begins with an evaluation.
        self._evaluations: dict[Setup, Future[Executable]] = {
            each: self._pool.submit(self._timed, programs.compiled, each, Evaluate())
            for each in ((setup,) if evaluated is None else evaluated)
        }
        self._programs: dict[int, Future[Program]] = {
            size: self._pool.submit(self._timed, _program, setup.at(size), passes[size])
            for size in passes
        }

    def ready(self, batch_size: int | None, seconds: float = 0.0) -> bool:
        """Return whether a batch size's functions are compiled; None asks for the evaluations.

        Waits for them for up to `seconds`.
        """
        futures: list[Future[Any]] = list(self._evaluations.values())
        if batch_size is not None:
            futures = [self._programs[batch_size]]
        return not wait(futures, seconds).not_done

    def program(self, batch_size: int) -> Program:
        """Return the functions of a batch size; wait until they are compiled."""
        return self._programs[batch_size].result()

    def evaluate(self, setup: Setup) -> Executable:
        """Return the function of an evaluation; wait until it is compiled."""
        return self._evaluations[setup].result()

    @property
    def seconds(self) -> float:
        """Seconds spent compiling so far, most of them in the background."""
        return sum(self._seconds)

    def close(self) -> None:
        """Cancel the compilations that have not started."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _timed(self, function: Callable[..., Result], *arguments: Any) -> Result:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self._seconds.append(time.perf_counter() - start)


def _program(setup: Setup, passes: Passes) -> Program:
    calls = tuple(programs.compiled(setup, call) for call in passes.calls)
    if passes.whole:
        halves = None if setup.learner.noise_of is None else passes.halves
        cut = None if halves is None else programs.compiled(setup, halves)
        return Program(passes, calls, None, cut)
    programs.zero_sums(setup)  # compiled here too: the first accumulated update needs it
    return Program(passes, calls, programs.compiled(setup, Apply()))
