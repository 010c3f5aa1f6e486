"""Check an experiment before its data is read."""

from collections.abc import Iterator

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.models import ghost_batch
from jbatch.optim import LAMB, Adam, AdamW
from jbatch.plan.plan import Plan


def check(experiment: Experiment, plan: Plan, devices: int) -> None:
    """Check an experiment: its network and data, its batches on the devices, its optimizer.

    Raises:
        Mistake: if not.
    """
    if experiment.model is None or experiment.data is None:
        missing = [name for name in ("model", "data") if getattr(experiment, name) is None]
        raise Mistake(
            f"this experiment has no {' and no '.join(missing)} yet, so it can be planned (jbatch "
            "plan) but not trained: give Experiment(model=…, data=…) in its file"
        )
    group, largest = ghost_batch(experiment.model), int(plan.batch_sizes.max())
    if group is not None and group > largest:
        raise Mistake(
            f"the ghost batch of {group:,} is larger than the plan's largest batch, "
            f"{largest:,}: give --model.norm.ghost-batch {largest} or less"
        )
    plan.check(devices, group)
    experiment.optimizer(0.0, plan.momentum)


def warnings(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """Yield a warning for each value that is allowed but may be unintended."""
    if isinstance(experiment.optimizer, Adam | AdamW | LAMB) and not plan.momentum:
        name = type(experiment.optimizer).__name__
        yield (
            f"momentum is 0, so {name}'s β1 is 0 and it does not average gradients. Its authors "
            "use 0.9: give --plan.momentum 0.9"
        )
