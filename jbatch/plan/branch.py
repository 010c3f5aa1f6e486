"""A branch of a run: the examples of a window in batches of one size, at the rate of its plan.

All branches from one place see the same examples in the same order, so that their losses differ by
the batch alone.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jbatch.errors import Mistake
from jbatch.plan.hold import Values, check_largest
from jbatch.plan.plan import Plan

SHARE = 0.12  # of the run's examples, in all windows together by default
LEAST_UPDATES = 10  # of the largest batch, in a window by default
FEWEST = 2  # parts of any window: one to settle, one to measure


class Window(NamedTuple):
    """The examples that branches train on, in parts that each of them takes in whole updates."""

    position: int  # of the run, where the branches begin
    batch_size: int  # B, of the run's next update
    part: int  # examples
    parts: int

    @property
    def examples(self) -> int:
        """Examples of the window."""
        return self.part * self.parts


def make_window(
    plan: Plan,
    position: int,
    multiples: Sequence[int],
    length: float | None = None,
    places: int = 1,
) -> Window:
    """Return the window of the branches from a position.

    Args:
        plan: of the run; one of its updates is still to come.
        position: examples that the run has seen.
        multiples: of the run's batch size, whole numbers from 1 on.
        length: of the window in the plan's unit, rounded up to whole parts; None: its share of 12%
            of the run, and at least ten updates of the largest batch.
        places: from which there are branches, each of all multiples.

    Raises:
        Mistake: if a batch is over the training set, or the window is too short for one.
    """
    batch_size, place = plan.at(plan.update_at(position)).batch_size, plan.measure.place(position)
    count, of = (
        plan.num_examples or plan.end,
        "the training set" if plan.num_examples else "the run",
    )
    largest = max(multiples)
    if largest * batch_size > count:
        raise Mistake(
            f"multiples has {largest:,}: at {place} that is a batch of "
            f"{largest * batch_size:,}, over the {count:,} examples of {of}. Give at most "
            f"{count // batch_size:,}"
        )
    part = batch_size * math.lcm(*multiples)
    if part > count:
        raise Mistake(
            f"multiples {' '.join(map(str, multiples))}: at {place} their updates only end "
            f"together after {part:,} examples, over the {count:,} of {of}. Give "
            "multiples that divide each other, such as 1 2 4 8"
        )
    if length is None:
        share = SHARE * plan.end / (places * len(multiples))
        examples = max(round(share), LEAST_UPDATES * part)
    else:
        if length > plan.length:
            raise Mistake(
                f"window is {plan.measure.amount(length)}, longer than the run, "
                f"{plan.measure.amount(plan.length)}: give less"
            )
        examples = plan.measure.position(length)
        if examples < FEWEST * part:
            least = plan.measure.amount(plan.measure.at(FEWEST * part))
            raise Mistake(
                f"window is {plan.measure.amount(length)}, and at {place} all batches take whole "
                f"updates in {part:,} examples: give at least two times that, {least}"
            )
    return Window(position, batch_size, part, -(-examples // part))


def make_branch(plan: Plan, window: Window, multiple: int) -> Plan:
    """Return the updates of one branch.

    Its rates are the schedule's at the examples that the run would have seen by then, and follow
    the batch as B^p, as in the plan. So the branch that keeps the batch has the run's own rates.
    The part of the run that is over is the run's too. Its examples begin at the start of the run's
    epoch, for an order of another seed. In a stream, which has one order, they are those after the
    run's end.

    Args:
        plan: of the run.
        window: of the branches.
        multiple: of the run's batch size; divides `window.part`.

    Raises:
        Mistake: if a value that follows the batch has none at this size.
    """
    size, count = multiple * window.batch_size, plan.num_examples
    own = Values(plan.momentum, plan.b2, plan.eps, plan.weight_decay)
    check_largest(plan.hold, own, size, plan.base)
    taken = np.arange(0, window.examples, size, dtype=np.int64)
    if count is None:
        positions = plan.end + taken
    else:
        each = count // window.part * window.part  # of an epoch, the examples that all branches see
        epoch, place = np.divmod(taken, each)
        positions = (window.position // count + epoch) * count + place
    covering = np.searchsorted(plan.positions, window.position + taken, side="right") - 1
    growth = size / plan.batch_sizes[covering]
    rates = plan.learning_rates[covering].astype(np.float64) * growth**plan.scaling
    return replace(
        plan,
        length=plan.measure.at(int(positions[-1]) + size),
        positions=positions,
        batch_sizes=np.full_like(positions, size),
        learning_rates=rates.astype(np.float32),
        warnings=(),
        decided=None,
        shares=np.minimum((window.position + taken) / plan.end, 1),
    )


def forgets(branch: Plan) -> bool:
    """Return whether a branch's first half is as long as the memory of its momentum, 1/(1 − m)."""
    momentum = branch.at(0).momentum
    return branch.num_updates / 2 * (1 - momentum) > 1 - 1e-9  # rounding
