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
from jbatch.plan.passes import Accumulate, cut, smallest_pass
from jbatch.step import flops, programs
from jbatch.step.calls import in_call
from jbatch.step.programs import Setup

FEWEST, LEAST_TIMED = 8, 32  # examples per device, between which it is those of `BUSY`
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
    timers: dict[int, Callable[[], float]] = {}
    seconds: dict[int, list[float]] = {}  # of an example
    spent = 0.0

    def look(examples: int) -> float:
        nonlocal spent
        begun = time.perf_counter()
        found = timers[examples]()
        spent += time.perf_counter() - begun
        return found

    def first_look(examples: int) -> float:
        found = look(examples)
        # Its first pass also pays for fresh memory, which matters where it is short.
        return found if found * examples * devices > ONCE else min(found, look(examples))

    least = max(timed, max(smallest_pass(size, devices, ghost_batch) for size in batch_sizes))
    if least >= most:  # a group's examples stay together
        return None, ""
    best, slower = 0, 0
    for candidate in _doubled(least, most):
        layout = cut([size], devices, ghost_batch, candidate)[size].layouts[0]
        examples = layout.per_device
        if examples in seconds:
            continue
        if len(seconds) > 1 and spent + 2 * layout.size * min(seconds[best]) > SECONDS:
            break
        timers[examples] = timer(setup, layout, size // layout.size)
        seconds[examples] = [first_look(examples)]
        now = first_look(best) if best else math.inf
        slower = slower + 1 if seconds[examples][0] > SLOWER * now else 0
        best = examples if seconds[examples][0] < now else best
        if slower == 2:
            break
    shortest = min(map(min, seconds.values()))
    hopeful = [each for each in seconds if min(seconds[each]) <= HOPELESS * shortest]
    turn = sum(min(seconds[each]) * each * devices for each in hopeful)
    for _ in range(TURNS if len(hopeful) > 1 else 0):
        if spent + turn > SECONDS:
            break
        turn = -spent
        for each in hopeful:
            seconds[each].append(look(each))
        turn += spent
    speeds = {each: 1 / float(np.median(seconds[each])) for each in seconds}
    highest = max(speeds[each] for each in hopeful)
    best = min(each for each in hopeful if WORTH * speeds[each] >= highest)
    if best == most:
        return None, ""
    shown = ", ".join(f"{examples:,} ({speed:,.0f})" for examples, speed in speeds.items())
    return best, f"{shown} examples/s"


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
