"""Check an experiment before its data is read."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from jbatch.data.text.tokens import Tokens
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.optim import LAMB, Adam, AdamW
from jbatch.optimizer import asks, leaves, takes_momentum, transformation
from jbatch.plan.plan import Plan
from jbatch.task.base import Task
from jbatch.task.classify import Classify


def check(experiment: Experiment, plan: Plan, devices: int) -> None:
    """Check an experiment: its network and data, its batches on the devices, its optimizer.

    Raises:
        Mistake: if not.
    """
    task, data = task_and_data(experiment)
    length = experiment.plan.sequence_length
    if isinstance(data, Tokens) and length not in (None, data.sequence):
        raise Mistake(
            f"plan.sequence_length is {length:,}, but a window of the data has {data.sequence:,} "
            "tokens: leave it out, and the plan takes the data's"
        )
    group, largest = task.group, plan.sizes[-1]
    if group is not None and group > largest:
        flag = "model.norm.ghost-batch" if isinstance(task, Classify) else "group"
        raise Mistake(
            f"the ghost batch of {group:,} is larger than the plan's largest batch, "
            f"{largest:,}: give --task.{flag} {largest} or less"
        )
    plan.check(devices, group)
    told = (*plan.hold.names, *asks(experiment.optimizer))
    held = dict.fromkeys(told, jnp.float32(0))
    transformation(experiment.optimizer, 0.0, plan.momentum, held=held)


def task_and_data(experiment: Experiment) -> tuple[Task, Any]:
    """Return an experiment's task and data; raise Mistake if it has none yet."""
    if experiment.task is None or experiment.data is None:
        missing = [name for name in ("task", "data") if getattr(experiment, name) is None]
        raise Mistake(
            f"this experiment has no {' and no '.join(missing)} yet, so it can be planned (jbatch "
            "plan) but not trained: give Experiment(task=…, data=…) in its file"
        )
    return experiment.task, experiment.data


def warnings(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """Yield a warning for each value that is allowed but may be unintended."""
    parts = leaves(experiment.optimizer)
    averaging = [part for part in parts if isinstance(part, Adam | AdamW | LAMB)]
    if averaging and not plan.momentum:
        name = type(averaging[0]).__name__
        yield (
            f"momentum is 0, so {name}'s β1 is 0 and it does not average gradients. Its authors "
            "use 0.9: give --plan.momentum 0.9"
        )
    given = "momentum" in plan.hold.names or takes_momentum(experiment.optimizer)
    if experiment.plan.momentum and not given:
        yield (
            f"plan.momentum is {plan.momentum:g}, but the optimizer is a function of the rate "
            "alone: it must have that momentum itself. To pass it on, give a function of (rate, "
            "momentum)"
        )
