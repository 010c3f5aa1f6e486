"""Time passes, to find the fastest micro-batch on CPUs."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.devices import meshes
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Accumulate, cut, fewest_per_device
from jbatch.step import flops, programs
from jbatch.step.calls import in_call
from jbatch.step.programs import Setup

FEWEST, LEAST_TIMED = 8, 32  # the smallest pass timed: examples that take `BUSY`, within these
BUSY = 2e9  # FLOPs of a pass that keeps a core busy
UNSPLIT = 4  # times as many are not split
WORTH = 1.03  # a larger micro-batch must be this many times as fast
SLOWER = 1.1  # two candidates in a row that are this many times slower end the search
HOPELESS = 1.5  # a candidate this many times slower is not timed again
TURNS = 9
SECONDS_OF_TURN, SECONDS = 0.04, 3.0  # unless a pass takes longer; of all timing
ONCE = 0.3  # seconds of a pass that is steady enough to be looked at once


def fastest(
    setup: Setup, batch_sizes: tuple[int, ...], ghost_batch: int | None, limit: int | None
) -> tuple[int | None, str]:
    """Return (the fastest micro-batch in a short benchmark, its text); None for the largest.

    On CPUs, small micro-batches are faster for convolutions and slower for other layers, and memory
    is no limit. This times passes of the largest batch, each twice as large as the one before,
    in calls as in a run, until they get slower. Each is compared with the fastest so far in the
    same moment, so that other work on the machine affects both. Then it times the promising ones in
    turns, compares medians, and takes the smallest of equally fast ones. All timing takes at most
    `SECONDS`, or two passes of each of two sizes. Compiling the passes comes on top.
    """
    size, devices = max(batch_sizes), setup.devices
    most = size // devices if limit is None else limit
    if most <= UNSPLIT * FEWEST or most <= UNSPLIT * (timed := _least_timed(setup)):
        return None, ""
    least = max(timed, *(fewest_per_device(each, devices, ghost_batch) for each in batch_sizes))
    if least >= most:  # a group's examples stay together
        return None, ""
    looks = _Looks(devices)
    for candidate in _doubled(least, most):
        layout = cut([size], devices, ghost_batch, candidate)[size].layouts[0]
        if layout.per_device in looks.seconds:
            continue
        if looks.would_take_too_long(layout.size):
            break
        looks.add(layout.per_device, timer(setup, layout, size // layout.size))
        if looks.slower == 2:
            break
    hopeful = looks.take_turns()
    speeds = {each: 1 / float(np.median(found)) for each, found in looks.seconds.items()}
    highest = max(speeds[each] for each in hopeful)
    best = min(each for each in hopeful if WORTH * speeds[each] >= highest)
    if best == most:
        return None, ""
    shown = ", ".join(f"{examples:,} ({speed:,.0f})" for examples, speed in speeds.items())
    return best, f"{shown} examples/s"


class _Looks:
    """Candidates, each timed beside the fastest so far, and the time spent on them."""

    def __init__(self, devices: int):
        self.seconds: dict[int, list[float]] = {}  # of an example, by a pass's examples per device
        self.slower = 0  # passes in a row that were slower than the fastest so far
        self._best = 0
        self._spent = 0.0
        self._devices = devices
        self._timers: dict[int, Callable[[], float]] = {}

    def would_take_too_long(self, size: int) -> bool:
        """Return whether two passes of `size` take longer than is left, once two are timed."""
        if len(self.seconds) < 2:
            return False
        return self._spent + 2 * size * min(self.seconds[self._best]) > SECONDS

    def add(self, examples: int, timed: Callable[[], float]) -> None:
        """Time a pass, and right after it the fastest one so far."""
        self._timers[examples] = timed
        found = self._first_look(examples)
        now = self._first_look(self._best) if self._best else math.inf
        self.seconds[examples] = [found]
        self.slower = self.slower + 1 if found > SLOWER * now else 0
        self._best = examples if found < now else self._best

    def take_turns(self) -> list[int]:
        """Time those that may be the fastest, in turns; return them."""
        shortest = min(map(min, self.seconds.values()))
        hopeful = [each for each, of in self.seconds.items() if min(of) <= HOPELESS * shortest]
        turn = sum(min(self.seconds[each]) * each * self._devices for each in hopeful)
        for _ in range(TURNS if len(hopeful) > 1 else 0):
            if self._spent + turn > SECONDS:
                break
            before = self._spent
            for each in hopeful:
                self.seconds[each].append(self._look(each))
            turn = self._spent - before
        return hopeful

    def _first_look(self, examples: int) -> float:
        found = self._look(examples)
        # Its first pass also pays for fresh memory, which matters where it is short.
        once = found * examples * self._devices > ONCE
        return found if once else min(found, self._look(examples))

    def _look(self, examples: int) -> float:
        begun = time.perf_counter()
        found = self._timers[examples]()
        self._spent += time.perf_counter() - begun
        return found


def _least_timed(setup: Setup) -> int:
    """Return the examples of the smallest pass worth timing: few of a text, more of images."""
    work = max(flops.of_example(setup.learner), 1.0)
    return min(LEAST_TIMED, max(FEWEST, math.ceil(BUSY / work)))


def _doubled(least: int, most: int) -> Iterator[int]:
    while least < most:
        yield least
        least *= 2
    yield most


def timer(setup: Setup, layout: Layout, passes: int) -> Callable[[], float]:
    """Return a function that runs passes on zeros and returns their seconds per example.

    A call takes as many as in a run whose updates have `passes` of them, but for no longer than a
    turn. If the pass is a whole update, it takes as many as it would take updates.
    """
    most = in_call(setup, layout).most
    most = most if passes == 1 else min(most, passes)
    accumulate = programs.compiled(setup, Accumulate(layout))
    state = programs.initializer(setup)(np.uint32(0))
    inputs, sums = zeros(setup, layout), programs.zero_sums(setup)()
    count = 0  # not known yet

    def call(count: int) -> float:
        nonlocal sums
        begun = time.perf_counter()
        sums, loss = accumulate(state, sums, np.int32(count), *inputs)
        loss.block_until_ready()
        return time.perf_counter() - begun

    def seconds() -> float:
        nonlocal count
        if not count:
            if (first := call(1)) > ONCE:
                count = 1
                return first / layout.size
            count = max(1, min(int(SECONDS_OF_TURN / call(1)), most))
        spent, taken = 0.0, 0
        while spent < SECONDS_OF_TURN:
            spent, taken = spent + call(count), taken + count
        return spent / (taken * layout.size)

    return seconds


def zeros(setup: Setup, layout: Layout) -> list[Any]:
    """Return arguments of a pass, all zeros, on the devices."""

    def placed(shapes: Any, differs: bool) -> Any:
        sharding = (meshes.split if differs else meshes.replicated)(setup.mesh)
        make = jax.jit(
            lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
            out_shardings=sharding,
        )
        return make()

    shapes = setup.inputs.shapes(layout)
    return [placed(*pair) for pair in zip(shapes, setup.inputs.per_device, strict=True)]
