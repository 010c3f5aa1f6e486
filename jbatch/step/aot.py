"""Compile the functions of all phases ahead, in the background while the first phase runs."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from jbatch.devices import meshes
from jbatch.devices.spmd import Executable
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Apply, Passes
from jbatch.step import programs
from jbatch.step.calls import InCall, in_call
from jbatch.step.programs import Evaluate, Setup

THREADS = "compile"  # prefix of the threads' names
MOST_RUN = 256 << 20  # bytes of a function that runs once before its phase

Result = TypeVar("Result")


def compiling() -> bool:
    """Return whether a background thread is compiling. Nothing can stop it."""
    return any(thread.name.startswith(THREADS) for thread in threading.enumerate())


class Program(NamedTuple):
    """The compiled functions of a batch size."""

    passes: Passes
    in_call: InCall
    calls: Mapping[Layout, Executable]  # of each pass
    apply: Executable | None  # None where the only pass is the whole update
    halves: Executable | None = None  # None where no update needs it for its noise to be measured


class Ahead:
    """Compiles in the order of first use: the current phase, and beside it all else in turn."""

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
        # A run begins with an evaluation or with an update. Later phases never compile two at a
        # time, because that would slow the updates of a CPU.
        now, later = (ThreadPoolExecutor(1, THREADS) for _ in range(2))
        self._pools = now, later
        first = next(iter(passes), None)
        self._evaluations: dict[Setup, Future[Executable]] = {
            each: later.submit(self._timed, programs.compiled, each, Evaluate())
            for each in ((setup,) if evaluated is None else evaluated)
        }
        self._programs: dict[int, Future[Program]] = {}
        for size in passes:
            if size == first:
                current = now.submit(self._timed, _program, setup.at(size), passes[size])
                self._programs[size] = current
                later.submit(current.exception)  # waits: equal passes are compiled once
                continue
            timed = later.submit(self._timed, _program_run_once, setup.at(size), passes[size])
            self._programs[size] = timed

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
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _timed(self, function: Callable[..., Result], *arguments: Any) -> Result:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self._seconds.append(time.perf_counter() - start)


def _program(setup: Setup, passes: Passes) -> Program:
    taken = in_call(setup, max(passes.layouts, key=lambda layout: layout.size))
    calls = {call.layout: programs.compiled(setup, call) for call in passes.calls}
    if passes.whole:
        halves = None if setup.learner.noise_of is None else passes.halves
        cut = None if halves is None else programs.compiled(setup, halves)
        return Program(passes, taken, calls, None, cut)
    programs.zero_sums(setup)  # compiled here too: the first accumulated update needs it
    return Program(passes, taken, calls, programs.compiled(setup, Apply()))


def _program_run_once(setup: Setup, passes: Passes) -> Program:
    """Return a program that has run on zeros, if that takes little memory on one CPU device.

    A function's first run takes up to 35 ms longer there, which a phase's first update would wait
    for. With several devices, programs of two threads could wait for each other's collectives.
    Zeros may give NaN, which JAX must not take for a run's.
    """
    program = _program(setup, passes)
    calls = *program.calls.values(), program.apply, program.halves
    made = [each for each in calls if each is not None]
    alone = setup.devices == 1 and setup.mesh.devices.flat[0].platform == "cpu"
    checked = any(getattr(jax.config, name) for name in ("jax_debug_nans", "jax_debug_infs"))
    if not alone or checked or any(each.memory.total > MOST_RUN for each in made):
        return program
    replicated = meshes.replicated(setup.mesh)

    def zeros(shapes: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), replicated), shapes
        )

    state = programs.state_on_devices(setup)
    ones = (1.0,) * len(setup.learner.held)
    sums = None if program.apply is None else programs.zero_sums(setup)()
    row = programs.how(0.0, passes.layouts[0].groups, passes.layouts[0].size, *ones)
    for layout, call in program.calls.items():
        inputs = zeros(setup.inputs.shapes(layout))
        if sums is None:
            jax.block_until_ready(call(zeros(state), programs.told(setup, [row]), *inputs))
        else:
            sums, _ = call(zeros(state), sums, np.int32(1), *inputs)
    if program.halves is not None:
        inputs = zeros(setup.inputs.shapes(passes.layouts[0]))
        jax.block_until_ready(program.halves(zeros(state), programs.told(setup, [row]), *inputs))
    if program.apply is not None:
        jax.block_until_ready(program.apply(zeros(state), sums, row))
    return program
