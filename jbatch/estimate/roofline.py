"""How long a plan would take on chips that are not here: a roofline of what the compiler counts."""

from collections.abc import Mapping
from dataclasses import dataclass

from jbatch.estimate.chips import Chip
from jbatch.estimate.worker import Work
from jbatch.plan.plan import Phase, Plan

# The same estimate where there is a published measurement to hold it against.
CALIBRATION = (
    "ResNet-50, bfloat16, 128 images a chip of 64 v4 chips: estimated 2,575 images/s and chip, "
    "published 3,453 (MLPerf Training 1.0)"
)


@dataclass(frozen=True)
class Update:
    """One update of a batch size on every chip, in seconds and bytes."""

    work: Work
    computing: float  # seconds
    reduced: float  # bytes of a chip that go into all-reduces
    reducing: float  # seconds, as if nothing else went on meanwhile
    accessed: float  # bytes of a chip's memory
    flops: float  # of a chip
    memory: int  # bytes of a chip, at most

    @property
    def seconds(self) -> float:
        """In all."""
        return self.computing + self.reducing


@dataclass(frozen=True)
class Stretch:
    """A phase of the plan."""

    phase: Phase
    update: Update
    efficiency: float  # against one chip: its seconds over ours and the number of chips

    @property
    def hours(self) -> float:
        """Of the whole phase."""
        return self.phase.updates * self.update.seconds / 3600


def one_update(work: Work, chip: Chip, chips: int) -> Update:
    """Each program takes as long as the slower of its arithmetic and its memory; an all-reduce of n
    bytes among k chips moves 2·n·(k−1)/k through each one's links.
    """
    calls = [(call.times, call.facts) for call in work.calls]
    reduced = sum(times * facts.reduced for times, facts in calls)
    return Update(
        work=work,
        computing=sum(
            times * max(facts.flops / chip.flops, facts.accessed / chip.bandwidth)
            for times, facts in calls
        ),
        reduced=reduced,
        reducing=2 * reduced * (chips - 1) / chips / chip.links,
        accessed=sum(times * facts.accessed for times, facts in calls),
        flops=sum(times * facts.flops for times, facts in calls),
        memory=work.memory,
    )


def estimate(
    plan: Plan, chip: Chip, chips: int, works: Mapping[int, Work], alone: Mapping[int, Work]
) -> list[Stretch]:
    """Each phase of a plan.

    Args:
        plan: the plan.
        chip: which.
        chips: how many.
        works: of each batch size, on them.
        alone: the same on one chip.
    """
    stretches = []
    for phase in plan.phases:
        update = one_update(works[phase.batch_size], chip, chips)
        by_one = one_update(alone[phase.batch_size], chip, 1)
        stretches.append(Stretch(phase, update, by_one.seconds / update.seconds / chips))
    return stretches
