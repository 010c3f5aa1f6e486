"""Choose how many updates one compiled call takes, if the dataset is in device memory.

A loop on the device saves host overhead per update. On CPUs, XLA compiles gradients of stock
convolutions inside a loop to naive code, many times slower; those of `jbatch.conv` without options
are as fast there. The default does not look which a network has, so those with convolutions have no
loop. On GPUs the host drives such loops anyway. For a long run on a CPU, both ways are timed.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import jax
import numpy as np

from jbatch.data.inputs import Inputs, WholeEpoch
from jbatch.errors import Mistake
from jbatch.plan.passes import Passes, Update
from jbatch.plan.plan import Plan
from jbatch.step import programs, pure
from jbatch.step.autotune import zeros
from jbatch.step.programs import Setup, how, told
from jbatch.task.base import Learner

MOST = 16  # more gain little, and delay the answer to a stop request
LEAST_TIMED = 10_000  # updates; with fewer, timing both ways costs more than the better one saves
LONG = 0.01  # seconds of an update, of which the host's part is below 1%
WORTH = 1.02  # a loop must be this many times as fast
TURNS, SECONDS = 7, 1.0  # of all timing


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


def worth_timing(setup: Setup, plan: Plan, passes: Mapping[int, Passes]) -> Update | None:
    """Return the call of the smallest batch of one pass; None if timing it is of no use.

    Several processes would have to agree on a measurement.
    """
    whole = [phase for phase in plan.phases if passes[phase.batch_size].whole]
    updates = sum(phase.updates for phase in whole)
    on_cpu = setup.mesh.devices.flat[0].platform == "cpu" and jax.process_count() == 1
    if not on_cpu or updates < LEAST_TIMED or not isinstance(setup.inputs, WholeEpoch):
        return None
    call = passes[min(phase.batch_size for phase in whole)].calls[0]
    assert isinstance(call, Update)
    return call


def faster(setup: Setup, call: Update) -> int:
    """Return whether 1 or `MOST` updates in a call are faster here, timed in turns."""
    alone = timer(setup, call, 1)
    if min(alone(), alone()) > LONG:
        return 1
    looped, begun = timer(setup, call, MOST), time.perf_counter()
    looped()  # its first call also pays for fresh memory
    turns: list[float] = []
    while len(turns) < TURNS and (not turns or time.perf_counter() - begun < SECONDS):
        turns.append(alone() / looped())
    return MOST if np.median(turns) > WORTH else 1


def timer(setup: Setup, call: Update, in_call: int, updates: int = MOST) -> Callable[[], float]:
    """Return a function that takes updates of zeros and returns the seconds of one.

    Args:
        setup: of the run.
        call: an update of one pass.
        in_call: updates in a call.
        updates: that it takes, a multiple of `in_call`.
    """
    setup = replace(setup, updates_per_call=in_call)
    update, inputs = programs.compiled(setup, call), zeros(setup, call.layout)
    state = programs.initializer(setup)(np.uint32(0))
    # Whatever the plan's values are, an update takes as long.
    row = how(0.0, call.layout.groups, call.layout.size, *(1.0 for _ in setup.learner.held))
    hows = told(setup, [row] * in_call)

    def seconds() -> float:
        nonlocal state
        begun = time.perf_counter()
        for _ in range(updates // in_call):
            state, _ = update(state, hows, *inputs)
        jax.block_until_ready(state)
        return (time.perf_counter() - begun) / updates

    return seconds
