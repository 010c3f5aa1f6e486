"""`jbatch plan`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from jbatch.cli.arguments import RunsCode, file_and_variant
from jbatch.errors import whole
from jbatch.micro_batch import cut
from jbatch.models import ghost_batch
from jbatch.plan_table import plan_json, plan_text

USAGE = "jbatch plan FILE VARIANT"


@dataclass(frozen=True)
class Options(RunsCode):
    """Print the plan of an experiment's variant: every phase, on paper, without any device.

    FILE VARIANT --help lists the experiment's fields; each can be changed.

    For example: jbatch plan experiments/digits.py increasing --plan.max-batch-size 64
    """

    devices: int | None = None
    """See whether this many devices can share every batch, and name the nearest that they can."""
    json: bool = False
    """Print JSON."""


def run(arguments: Sequence[str]) -> None:
    """Print the plan."""
    # Schedules are read on the CPU; another backend may be another process's.
    jax.config.update("jax_platforms", "cpu")
    _, _, options, _, experiment = file_and_variant(Options, arguments, USAGE)
    plan = experiment.plan.plan()
    if options.devices is not None:
        devices = whole("devices", options.devices)
        group = experiment.model and ghost_batch(experiment.model)
        plan.check(devices, group)
        cut({phase.batch_size for phase in plan.phases}, devices, group, experiment.micro_batch)
    decaying = experiment.plan.decaying().plan().num_updates
    if options.json:
        print(json.dumps(plan_json(plan, decaying), indent=2))
    else:
        sys.stdout.write(plan_text(plan, decaying))
