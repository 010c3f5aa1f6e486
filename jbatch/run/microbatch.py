"""A run's micro-batch: chosen at its first start, and kept with it on the same devices.

It changes the order of sums, and with it the last bits of the parameters.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from jbatch.devices.environment import environment
from jbatch.devices.memory import available
from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.files import write_whole
from jbatch.json_lines import read_json
from jbatch.models import ghost_batch
from jbatch.plan.passes import cut
from jbatch.step.autotune import Choice, choose
from jbatch.step.programs import Setup

FILE = "micro_batch.json"


def micro_batch(
    directory: Path, experiment: Experiment, batch_sizes: Collection[int], setup: Setup
) -> Choice:
    """The micro-batch that a run goes on with, or begins with; the same in all processes.

    Raises:
        Mistake: if one that is given, or the smallest, does not fit.
    """
    given, where = experiment.micro_batch, _where(experiment, batch_sizes, setup)
    kept = _read(directory)
    same = given is None and kept is not None and kept["where"] == where
    if same:
        try:
            cut(batch_sizes, setup.devices, ghost_batch(experiment.model), kept["limit"])
        except Mistake:  # a limit that was never chosen
            same = False
    # The first process decides whether to choose, and the least memory of all what fits.
    said = json.loads(agree.exchange("kept", json.dumps([kept["limit"]] if same else []))[0])
    if said:
        return Choice(said[0], "")
    memory = experiment.device_memory
    held = available(setup.mesh.local_devices[0]) if memory is None else int(memory * 2**30)
    known = [json.loads(text) for text in agree.exchange("memory", json.dumps(held))]
    least = min((size for size in known if size is not None), default=None)
    return agree.together(
        "the micro-batch",
        lambda: choose(setup, batch_sizes, ghost_batch(experiment.model), given, least),
    )


def keep(
    directory: Path, experiment: Experiment, batch_sizes: Collection[int], setup: Setup, limit
) -> None:
    """Write it down, for the run to go on with."""
    values = {"limit": limit, "where": _where(experiment, batch_sizes, setup)}
    write_whole(directory / FILE, json.dumps(values) + "\n")


def _where(experiment: Experiment, batch_sizes: Collection[int], setup: Setup) -> dict:
    """All that the choice may depend on."""
    here = environment()
    return {
        **{name: here[name] for name in ("devices", "cores", "jax")},
        "used": setup.devices,
        "device_memory": experiment.device_memory,
        "batch_sizes": sorted(set(batch_sizes)),
    }


class Kept(Struct):
    """What the file holds."""

    limit: Annotated[int, Meta(ge=1)] | None
    where: dict


def _read(directory: Path) -> dict | None:
    path = directory / FILE
    if not path.exists():
        return None
    try:
        return read_json(path, Kept)
    except Mistake:  # it is chosen again
        return None
