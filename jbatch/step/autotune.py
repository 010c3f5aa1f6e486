"""Choose the micro-batch: the largest that fits in device memory, or on CPUs the fastest."""

import hashlib
import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
from msgspec import Meta

from jbatch.devices.environment import environment
from jbatch.devices.memory import Memory
from jbatch.errors import Mistake
from jbatch.files import cache_folder, write_whole
from jbatch.json_lines import read_json
from jbatch.machine import processor
from jbatch.plan.passes import Pass, cut
from jbatch.step import held, programs
from jbatch.step.fits import check_fits, largest, unlimited_if_refused
from jbatch.step.programs import Setup
from jbatch.step.timing import fastest
from jbatch.text import byte_size

ROOM = 1.2  # times what a pass needs before XLA tunes it; then the tuned one needs no check

Kept = tuple[Annotated[int, Meta(ge=1)] | None, str]  # the fastest micro-batch, and its text


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
        # If a pass this small fits, a run compiles it next.
        next_anyway = call.layout.per_device <= min(batch_sizes) // setup.devices
        if not next_anyway and available is not None and ROOM * (soon := probe(call)) <= available:
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
