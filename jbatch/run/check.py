"""What can be seen to be wrong with an experiment before its data are read."""

from collections.abc import Iterator

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.models import ghost_batch
from jbatch.optim import LAMB, Adam, AdamW
from jbatch.plan.plan import Plan


def check(experiment: Experiment, plan: Plan, devices: int) -> None:
    """See that the devices can share every batch, and that there is such an optimizer.

    Raises:
        Mistake: if not.
    """
    if experiment.model is not None:
        group, largest = ghost_batch(experiment.model), int(plan.batch_sizes.max())
        if group is not None and group > largest:
            raise Mistake(
                f"the ghost batch of {group:,} is over the plan's largest batch, {largest:,}: no "
                f"update has so many examples; give --model.norm.ghost-batch {largest} or less"
            )
        plan.check(devices, group)
    experiment.optimizer.transformation(0.0, plan.momentum)


def warnings(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """What a person may not have meant."""
    if isinstance(experiment.optimizer, Adam | AdamW | LAMB) and not plan.momentum:
        name = type(experiment.optimizer).__name__
        yield (
            f"momentum is 0, and so is {name}'s β1: it averages no gradients; its authors' is "
            "--plan.momentum 0.9"
        )
