"""Choose how many updates one compiled call takes, if the dataset is in device memory.

A loop on the device saves host overhead per update. On CPUs, XLA compiles gradients of convolutions
inside a loop to naive code, many times slower. On GPUs the host drives such loops anyway.
"""

import jax

from jbatch.data.inputs import Inputs, WholeEpoch
from jbatch.errors import Mistake
from jbatch.step import pure
from jbatch.task.base import Learner

MOST = 16  # more gain little, and delay the answer to a stop request


def updates_per_call(given: int | None, learner: Learner, inputs: Inputs, platform: str) -> int:
    """Return `given`, or choose for devices and network; raise Mistake if `given` is impossible."""
    if given is not None:
        if given > 1 and not isinstance(inputs, WholeEpoch):
            raise Mistake(
                f"updates_per_call is {given}, but a streamed dataset allows one update per call: "
                "leave it out, or give 1"
            )
        return given
    if not isinstance(inputs, WholeEpoch):
        return 1
    suits = platform == "tpu" or (platform == "cpu" and not convolutional(learner))
    return MOST if suits else 1


def convolutional(learner: Learner) -> bool:
    """Return whether a network has convolutions, whose kernels have four axes."""
    return any(leaf.ndim == 4 for leaf in jax.tree.leaves(pure.state_shapes(learner).params))
