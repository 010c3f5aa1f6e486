"""Estimate how long a plan takes on other chips: a roofline of the compiler's counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jbatch.estimate.chips import Chip
from jbatch.estimate.worker import Work
from jbatch.plan.plan import Phase, Plan


class Calibration(NamedTuple):
    """The same estimate beside a measurement."""

    text: str
    slowest: float  # the measured time over the estimated one


ON_TPUS = Calibration(
    "ResNet-50, 128 images on each of 64 v4 chips: estimated 23.6 ms an update, published 37.1 "
    "(MLPerf Training 1.0)",
    1.6,
)
ON_GPUS = Calibration(
    "Wide ResNet 16-4, bfloat16, one H100: estimated 0.72 ms an update of 128 images, measured 2.2 "
    "(1.8 times the estimate at 3,200)",
    3.1,
)


@dataclass(frozen=True)
class Update:
    """Hold the cost of one update at one batch size."""

    work: Work
    computing: float  # seconds
    reduced: float  # bytes per chip in all-reduces
    reducing: float  # seconds, without overlap
    reductions: int  # all-reduces
    asynchronous: int  # all-reduces that the program runs other work beside
    traffic: float  # bytes per chip to and from its memory
    cycles: float  # per chip, by the compiler's own estimate; 0 if it gives none
    flops: float  # per chip
    memory: int  # peak bytes per chip

    @property
    def seconds(self) -> float:
        """Return the seconds of the whole update, at least."""
        return self.computing + self.reducing


@dataclass(frozen=True)
class Stretch:
    """Hold a phase of the plan and its estimate."""

    phase: Phase
    update: Update
    efficiency: float  # seconds on one chip / (seconds on all · chips)

    @property
    def hours(self) -> float:
        """Return the hours of the whole phase, at least."""
        return self.phase.updates * self.update.seconds / 3600


def one_update(work: Work, chip: Chip, chips: int) -> Update:
    """Estimate one update at one batch size.

    A program takes at least the longer of its arithmetic and its memory time. An all-reduce
    of n bytes among k chips moves 2·n·(k−1)/k bytes through each chip's links.
    """
    calls = [(call.times, call.facts) for call in work.calls]
    reduced = sum(times * facts.reduced for times, facts in calls)
    return Update(
        work=work,
        computing=sum(
            times * max(facts.flops / chip.flops, facts.traffic / chip.bandwidth)
            for times, facts in calls
        ),
        reduced=reduced,
        reducing=2 * reduced * (chips - 1) / chips / chip.links,
        reductions=sum(times * facts.reductions for times, facts in calls),
        asynchronous=sum(times * facts.asynchronous for times, facts in calls),
        traffic=sum(times * facts.traffic for times, facts in calls),
        cycles=sum(times * facts.cycles for times, facts in calls),
        flops=sum(times * facts.flops for times, facts in calls),
        memory=work.memory,
    )


def estimate(
    plan: Plan, chip: Chip, chips: int, works: Mapping[int, Work], alone: Mapping[int, Work]
) -> list[Stretch]:
    """Estimate each phase of a plan.

    Args:
        plan: the plan.
        chip: the kind of chip.
        chips: their number.
        works: batch size → work on all chips.
        alone: batch size → work on one chip.
    """
    stretches = []
    for phase in plan.phases:
        update = one_update(works[phase.batch_size], chip, chips)
        by_one = one_update(alone[phase.batch_size], chip, 1)
        stretches.append(Stretch(phase, update, by_one.seconds / update.seconds / chips))
    return stretches


def calibration(chip: Chip) -> Calibration:
    """Return what is known of how far off estimates for a kind of chip are."""
    return ON_GPUS if chip.is_gpu else ON_TPUS
