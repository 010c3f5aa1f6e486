"""A run's micro-batch: chosen at its first start, and kept with it on the same devices.

It changes the order of sums, and with it the last bits of the parameters.
"""

import json
from collections.abc import Collection
from pathlib import Path

from jbatch import cluster
from jbatch.choose import Choice, choose
from jbatch.compile import Setup
from jbatch.experiment import Experiment
from jbatch.files import write_whole
from jbatch.memory import available
from jbatch.models import ghost_batch
from jbatch.run_directory import environment

FILE = "micro_batch.json"


def micro_batch(
    directory: Path, experiment: Experiment, batch_sizes: Collection[int], setup: Setup
) -> Choice:
    """The micro-batch that a run goes on with, or begins with; the same in all processes.

    Raises:
        Mistake: if one that is given, or the smallest, does not fit.
    """
    given = experiment.micro_batch
    kept = cluster.exchange("kept", _read(directory))[0]
    where = _where(experiment, batch_sizes)
    if given is None and kept and json.loads(kept)["where"] == where:
        return Choice(json.loads(kept)["limit"], "")
    memory = experiment.device_memory
    held = available(setup.mesh.local_devices[0]) if memory is None else int(memory * 2**30)
    choice = cluster.together(
        "the micro-batch",
        lambda: choose(setup, batch_sizes, ghost_batch(experiment.model), given, held),
    )
    limits = [json.loads(text) for text in cluster.exchange("chosen", json.dumps(choice.limit))]
    least = min((limit for limit in limits if limit is not None), default=None)
    return Choice(least, choice.why)


def keep(directory: Path, experiment: Experiment, batch_sizes: Collection[int], limit) -> None:
    """Write it down, for the run to go on with."""
    values = {"limit": limit, "where": _where(experiment, batch_sizes)}
    write_whole(directory / FILE, json.dumps(values) + "\n")


def _where(experiment: Experiment, batch_sizes: Collection[int]) -> dict:
    """All that the choice may depend on."""
    here = environment()
    return {
        **{name: here[name] for name in ("devices", "cores", "jax")},
        "device_memory": experiment.device_memory,
        "batch_sizes": sorted(set(batch_sizes)),
    }


def _read(directory: Path) -> str:
    path = directory / FILE
    if not path.exists():
        return ""
    text = path.read_text(errors="replace")
    try:
        whole = {"limit", "where"} <= json.loads(text).keys()
    except (ValueError, AttributeError):
        return ""
    return text if whole else ""
