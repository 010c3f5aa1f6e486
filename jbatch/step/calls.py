"""How many updates one call of a compiled step takes, of data that lives on the devices.

A loop on the device saves the host's part of each update. On CPUs XLA compiles the gradients of
convolutions in a loop to naive ones, many times slower; on GPUs the host drives such loops all the
same.
"""

import jax

from jbatch.data.inputs import Inputs
from jbatch.errors import Mistake
from jbatch.step import pure
from jbatch.task.classify import Task

MOST = 16  # more gain little, and make a run that is asked to stop wait


def updates_per_call(given: int | None, task: Task, inputs: Inputs, platform: str) -> int:
    """What is given, or what suits the devices and the network; Mistake if it cannot be."""
    if given is not None:
        if given > 1 and not inputs.several:
            raise Mistake(
                f"updates_per_call is {given}, and examples that are streamed come one update at a "
                "time: leave it out, or give 1"
            )
        return given
    if not inputs.several:
        return 1
    suits = platform == "tpu" or (platform == "cpu" and not _convolutional(task))
    return MOST if suits else 1


def _convolutional(task: Task) -> bool:
    """Whether a network has convolutions: their kernels have two axes more than a matrix."""
    return any(leaf.ndim == 4 for leaf in jax.tree.leaves(pure.state_shapes(task).params))
