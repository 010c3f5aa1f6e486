"""Choose the micro-batch at a run's first start, and keep it on the same devices.

It changes the order of sums, so another one changes the last bits of the parameters.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import jax
from msgspec import Meta, Struct

from jbatch.devices.environment import environment
from jbatch.devices.memory import available
from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.json_lines import read_json
from jbatch.plan.passes import Passes, cut
from jbatch.run.job import SHOWN, Job, Limits
from jbatch.step import programs
from jbatch.step.autotune import Choice, choose
from jbatch.step.programs import Setup

FILE = "micro_batch.json"


def cut_into_passes(directory: Path, job: Job) -> tuple[dict[int, Passes], str]:
    """Return each batch size's passes, and the reason for them, which is empty unless it is new.

    The result is the same in all processes, and is saved in the run directory.

    Raises:
        Mistake: if the given or the smallest micro-batch does not fit in memory, or if processes
            would compile different programs.
    """
    before = _read(directory)
    if before is not None and before["where"] != _where(job):
        before = None
    choice = _choice(before, job)
    passes = cut(job.batch_sizes, job.setup.devices, job.setup.task.group, choice.limit)
    if jax.process_count() > 1:
        compiled = agree.together("programs", lambda: programs.digest(job.setup, passes))
        agree.check_same({"the compiled program": compiled[:SHOWN]})
    kept = {"limit": choice.limit, "where": _where(job)}

    def keep() -> None:
        if agree.first():
            write_whole(directory / FILE, json.dumps(kept) + "\n")

    agree.together("what is kept", keep)
    return passes, choice.why


def kept_limit(directory: Path) -> int | None:
    """Return the micro-batch of a run; None if it has no limit."""
    kept = _read(directory)
    return None if kept is None else kept["limit"]


def _choice(kept: dict[str, Any] | None, job: Job) -> Choice:
    """Return the micro-batch that the run used on these devices, or choose one for them."""
    given, setup = job.limits.micro_batch, job.setup
    if given is not None:
        kept = None
    elif kept is not None:
        try:
            cut(job.batch_sizes, setup.devices, setup.task.group, kept["limit"])
        except Mistake:  # the file was edited: jbatch never chose this limit
            kept = None
    # Process 0 decides whether to choose. The smallest memory of all processes is the limit.
    limits = [] if kept is None else [kept["limit"]]
    said = json.loads(agree.exchange("kept", json.dumps(limits))[0])
    if said:
        return Choice(said[0], "")
    return chosen(setup, job.batch_sizes, job.limits)


def chosen(setup: Setup, batch_sizes: Collection[int], limits: Limits) -> Choice:
    """Choose the micro-batch for these batch sizes, the same in all processes.

    Raises:
        Mistake: if the given or the smallest micro-batch does not fit in memory.
    """
    memory = limits.device_memory
    held = available(setup.mesh.local_devices[0]) if memory is None else int(memory * 2**30)
    known = [json.loads(text) for text in agree.exchange("memory", json.dumps(held))]
    least = min((size for size in known if size is not None), default=None)
    return agree.together(
        "the micro-batch",
        lambda: choose(setup, batch_sizes, setup.task.group, limits.micro_batch, least),
    )


def _where(job: Job) -> dict[str, Any]:
    """Return what the choice may depend on, of what may change between two starts of a run."""
    here = environment()
    return {
        **{name: here[name] for name in ("devices", "cores", "jax")},
        "used": job.setup.devices,
        "device_memory": job.limits.device_memory,
        "batch_sizes": sorted(set(job.batch_sizes)),
        **({"optimizer_state": "sharded"} if job.setup.sharded else {}),
    }


class Kept(Struct):
    """The contents of the file."""

    limit: Annotated[int, Meta(ge=1)] | None
    where: dict[str, Any]


def _read(directory: Path) -> dict[str, Any] | None:
    path = directory / FILE
    if not path.exists():
        return None
    try:
        kept: dict[str, Any] = read_json(path, Kept)
    except Mistake:  # a damaged file: choose again
        return None
    return kept
