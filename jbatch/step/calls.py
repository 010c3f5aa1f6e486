"""Choose how many updates of one pass, or passes of an update, one compiled call takes.

A loop on the device saves the host's part of each, and it needs the dataset in device memory. On
CPUs, a call also allocates memory once for all of them. But XLA compiles gradients of stock
convolutions inside a loop to naive code there, many times slower; those of `jbatch.conv` without
options are as fast as elsewhere. On GPUs the host drives such loops anyway.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jbatch.data.inputs import Inputs, WholeEpoch
from jbatch.errors import Mistake
from jbatch.plan.layout import Layout
from jbatch.step import flops
from jbatch.step.programs import Setup
from jbatch.task.base import Learner

MOST = 16  # more gain little, and delay the answer to a stop request
# FLOPs of a call on a device of a CPU: 2 s of a server's core in products. A stop request waits for
# two such calls.
WORK = 3.2e11


class InCall(NamedTuple):
    """What one call takes."""

    most: int  # updates of one pass, or passes of an update
    long: bool  # whether `MOST` such calls would be more than `WORK`


def updates_per_call(
    given: int | None, learners: Iterable[Learner], inputs: Inputs, platform: str
) -> int:
    """Return `given`, or choose for devices and networks, of a run's phases.

    Raises:
        Mistake: if `given` is impossible.
    """
    if given is not None:
        if given > 1 and not isinstance(inputs, WholeEpoch):
            raise Mistake(
                f"updates_per_call is {given}, but a streamed dataset allows one update per call: "
                "leave it out, or give 1"
            )
        return given
    if not isinstance(inputs, WholeEpoch):
        return 1
    if platform == "cpu":
        return 1 if any(map(flops.stock_convolutions, learners)) else MOST
    return MOST if platform == "tpu" else 1


def in_call(setup: Setup, layout: Layout) -> InCall:
    """Return what one call takes of passes of a layout.

    It follows from the setup alone, so that all processes of a run make the same calls.
    """
    if setup.mesh.devices.flat[0].platform != "cpu":
        return InCall(setup.updates_per_call, long=False)
    work = max(flops.of_example(setup.learner) * layout.per_device, 1.0)
    most = min(setup.updates_per_call, max(int(WORK // work), 1))
    return InCall(most, long=MOST * most * work > WORK)
