"""Choose the micro-batch: the largest that fits in device memory, or on CPUs the fastest."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from msgspec import Meta

from jbatch.devices import meshes
from jbatch.devices.environment import environment
from jbatch.devices.memory import Memory
from jbatch.errors import Mistake
from jbatch.files import cache_folder, write_whole
from jbatch.json_lines import read_json
from jbatch.machine import processor
from jbatch.plan.layout import Layout, group_size
from jbatch.plan.passes import Accumulate, Pass, Passes, cut
from jbatch.step import flops, held, programs
from jbatch.step.calls import in_call
from jbatch.step.programs import Setup
from jbatch.text import byte_size
from jbatch.upstream_words import OUT_OF_MEMORY

LEAST_PROBED = 16  # examples per device; with fewer, memory is less affine
FEWEST, LEAST_TIMED = 8, 32  # examples per device, between which it is those of `WORK`
WORK = 2e9  # FLOPs of a pass that keeps a core busy
UNSPLIT = 4  # times as many are not split
WORTH = 1.03  # a larger micro-batch must be this many times as fast
BELIEVED = 2.0  # a prediction that leaves so many times its memory needs no check
ROOM = 1.2  # times what a pass needs before XLA tunes it; then the tuned one needs no check
SLOWER = 1.1  # two candidates in a row that are this many times slower end the search
HOPELESS = 1.5  # a candidate this many times slower is not timed again
TURNS = 9
SECONDS_OF_TURN, SECONDS = 0.04, 3.0  # unless a pass takes longer; of all timing
ONCE = 0.3  # seconds of a pass that is steady enough to be looked at once

Kept = tuple[Annotated[int, Meta(ge=1)] | None, str]  # the fastest micro-batch, and its text

# Bytes that a device needs for a pass. Infinity if the compiler refuses it, as TPU's does.
Needs = Callable[[Pass], float]


@dataclass(frozen=True)
class Choice:
    """A micro-batch, and the reason for it."""

    limit: int | None  # for `cut`
    why: str  # a message; empty if there was nothing to choose


def choose(
    setup: Setup,
    batch_sizes: Collection[int],
    ghost_batch: int | None,
    given: int | None,
    available: int | None,
) -> Choice:
    """Choose the micro-batch of a run.

    Args:
        setup: task, inputs and devices.
        batch_sizes: B of each phase.
        ghost_batch: g; None without batch norm.
        given: the user's choice; None to let jbatch choose.
        available: memory of a device in bytes; None if it is not known.

    Raises:
        Mistake: if the given micro-batch, or the smallest, does not fit.
    """

    setups = tuple(dict.fromkeys(map(setup.at, batch_sizes)))  # several if phases have sides

    def of(memory: Callable[[Setup, Pass], Memory], call: Pass) -> float:
        with unlimited_if_refused() as refused:
            return max(memory(each, call).total + held.beside(each, call) for each in setups)
        return refused

    def probe(call: Pass) -> float:
        return of(programs.memory_soon, call)

    def needs(call: Pass) -> float:
        at_once = (
            call.layout.per_device <= min(batch_sizes) // setup.devices
        )  # compiled next anyway
        if not at_once and available is not None and ROOM * (soon := probe(call)) <= available:
            return soon
        return of(programs.memory, call)

    if given is not None:
        passes = cut(batch_sizes, setup.devices, ghost_batch, given)
        if available is not None:
            check_fits(given, passes, available, needs)
        return Choice(given, "")
    limit, why = None, ""
    if available is not None:
        limit = largest(batch_sizes, setup.devices, ghost_batch, available, needs, probe)
        if limit is not None:
            why = f"the largest that fits {byte_size(available)}"
    # Several processes would have to agree on a measurement.
    if setup.mesh.devices.flat[0].platform == "cpu" and jax.process_count() == 1:
        asked = tuple(sorted(batch_sizes)), ghost_batch, limit
        here = setup.at(max(batch_sizes))
        fast, speeds = _kept_here(here, asked, lambda: fastest(here, *asked))
        if fast is not None:
            limit, why = fast, f"the fastest of {speeds}"
    return Choice(limit, f"micro-batch {limit:,}, {why}" if why else "")


def _kept_here(
    setup: Setup, asked: tuple[Any, ...], make: Callable[[], tuple[int | None, str]]
) -> tuple[int | None, str]:
    """Return the first choice made on this machine for this setup, from a cache file.

    A choice changes the order of sums, and so the last bits of a run. The same command should give
    the same bits again, also on a busy machine.

    Args:
        setup: of the run.
        asked: what else the choice depends on.
        make: chooses.
    """
    here = [environment(), os.uname().nodename, processor(), programs.identity(setup)]
    asked = (setup.devices, setup.mapping, setup.updates_per_call, *asked)
    key = hashlib.sha256(json.dumps([*here, *asked]).encode()).hexdigest()[:32]
    path = cache_folder("micro_batch") / f"{key}.json"
    found = _read(path)
    if found is None:
        found = make()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            found = _read(path) or found  # another run may have been faster
            write_whole(path, json.dumps(found))
    return found


def _read(path: Path) -> tuple[int | None, str] | None:
    try:
        kept: tuple[int | None, str] = read_json(path, Kept)
    except Mistake:  # missing or damaged
        return None
    return kept


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

    least = max(timed, max(_least(size, devices, ghost_batch) for size in batch_sizes))
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
        timers[examples] = _timer(setup, layout, size // layout.size)
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
    return min(LEAST_TIMED, max(FEWEST, math.ceil(WORK / work)))


def _doubled(least: int, most: int) -> Iterator[int]:
    while least < most:
        yield least
        least *= 2
    yield most


def _timer(setup: Setup, layout: Layout, passes: int) -> Callable[[], float]:
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


@contextmanager
def unlimited_if_refused() -> Iterator[float]:
    """Yield infinity, and suppress the compiler's error that a program does not fit."""
    try:
        yield math.inf
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise


def largest(
    batch_sizes: Collection[int],
    devices: int,
    ghost_batch: int | None,
    available: int,
    needs: Needs,
    probe: Needs | None = None,
) -> int | None:
    """Return the largest micro-batch that fits in memory.

    Memory is nearly affine in the micro-batch, so two small passes predict the largest one. If a
    device's whole share needs less than half of the memory by this prediction, it is believed: a
    large pass can take a minute to compile. Otherwise the predicted pass is compiled, then
    smaller ones until one fits.

    Args:
        batch_sizes: B of each phase, over all devices.
        devices: D.
        ghost_batch: g; None without batch norm.
        available: memory of one device in bytes.
        needs: compiles a pass and returns the bytes it needs.
        probe: a cheaper `needs` for the two small passes.

    Returns:
        Examples per device and pass, as a limit for `cut`; None if a device's whole share fits.

    Raises:
        Mistake: if not even the smallest pass fits.
    """
    share = max(batch_sizes) // devices
    unit = max(_least(size, devices, ghost_batch) for size in batch_sizes)
    group = group_size(max(batch_sizes), ghost_batch)
    whole = math.lcm(unit, group)  # so that a probe on one device stands for many
    small = whole * -(-LEAST_PROBED // whole)
    limit = share
    if share > 2 * small:
        first, second = (
            (probe or needs)(Accumulate(Layout(examples * devices, devices, group)))
            for examples in (small, 2 * small)
        )
        each = max((second - first) / small, 1.0) if math.isfinite(second) else math.inf
        if BELIEVED * (first + each * (share - small)) <= available:
            return None
        predicted = small + (available - first) / each if math.isfinite(second) else unit
        limit = min(share, max(int(predicted), unit))
    while True:
        passes = cut(batch_sizes, devices, ghost_batch, limit)
        examples, needed = _most_needed(passes, needs)
        if needed <= available:
            if limit == share:
                return None
            # Where passes are composed, the largest pass as a limit could give other, smaller ones.
            same = cut(batch_sizes, devices, ghost_batch, examples) == passes
            return examples if same else limit
        smaller = range(unit, examples, unit)
        if not smaller:
            raise Mistake(
                f"the smallest micro-batch, {examples:,} examples per device, needs "
                f"{byte_size(needed)}, but a device has {byte_size(available)}: give a smaller "
                "model, image or ghost_batch, or more memory"
            )
        limit = smaller[-1]


def check_fits(
    micro_batch: int | None, passes: dict[int, Passes], available: int, needs: Needs
) -> None:
    """Raise Mistake, with the numbers, if the largest pass does not fit."""
    examples, needed = _most_needed(passes, needs)
    if needed > available:
        raise Mistake(
            f"micro_batch is {micro_batch:,}: {examples:,} examples per device need "
            f"{byte_size(needed)}, but a device has {byte_size(available)}. Give a smaller one, or "
            "none to let jbatch choose the largest that fits"
        )


def _least(size: int, devices: int, ghost_batch: int | None) -> int:
    """Return the examples per device of the smallest pass of an update of `size`."""
    whole = cut([size], devices, ghost_batch, None)[size].layouts[0]
    group = whole.group
    return next(
        count // devices
        for count in range(devices, size + 1, devices)
        if count % group == 0 and size % count == 0
    )


def _most_needed(passes: dict[int, Passes], needs: Needs) -> tuple[int, float]:
    """Return (examples per device, bytes) of the largest pass; of two kinds, the larger bytes."""
    examples = _examples_at_once(passes)
    largest = {
        call
        for of_batch in passes.values()
        for call in of_batch.calls
        if call.layout.per_device == examples
    }
    return examples, max(map(needs, largest))


def _examples_at_once(passes: dict[int, Passes]) -> int:
    return max(call.layout.per_device for of_batch in passes.values() for call in of_batch.calls)
