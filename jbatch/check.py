"""What can be seen to be wrong with an experiment before its data are read."""

from jbatch.experiment import Experiment
from jbatch.models import ghost_batch
from jbatch.plan import Plan


def check(experiment: Experiment, plan: Plan, devices: int) -> None:
    """See that the devices can share every batch, and that there is such an optimizer.

    Raises:
        Mistake: if not.
    """
    if experiment.model is not None:
        plan.check(devices, ghost_batch(experiment.model))
    experiment.optimizer.transformation(0.0, plan.momentum)
