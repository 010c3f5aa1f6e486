"""Choose how many of a CPU's cores, each a device of XLA, share the updates of a run."""

from collections.abc import Sequence

from jbatch.plan.layout import why_not
from jbatch.step import flops
from jbatch.task.base import Learner

# FLOPs of a device's share of an update, from which it saves more time than devices take to meet,
# on a virtual machine whose cores sleep while they wait: with so many, two devices are 1.1 times as
# fast as one, and with half of them 0.85 times (more than two were not measured). Without
# convolutions, one device uses all cores as well.
LEAST = 0.1e9


def worthwhile(learner: Learner, batch_sizes: Sequence[int], cores: int) -> int:
    """Return the number of devices, at most `cores`, that can share all batch sizes and pay."""
    if cores == 1 or not flops.convolutions(learner):
        return 1
    group, smallest = learner.task.group, min(batch_sizes)
    work = flops.of_example(learner) * smallest
    counts = range(min(cores, int(work // LEAST)), 1, -1)
    fitting = (
        count
        for count in counts
        if all(why_not(size, count, group) is None for size in batch_sizes)
    )
    return next(fitting, 1)
