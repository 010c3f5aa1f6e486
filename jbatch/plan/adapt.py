"""Rules that grow the batch by what a run measures: pure functions of averages.

docs/adaptive.md explains them. A run asks at every k-th update (`run/adapt.py`); here is what it
is told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jbatch.errors import Mistake, positive, real, shown, whole

LEAST_MEASURED = 20  # updates that averages of the noise must be of
ROUNDING = 1e-9  # relative; 0.1 · 1280 counts as 128


class Averages(NamedTuple):
    """What a run has measured before a decision."""

    squared: tuple[float, ...] = ()  # |G|² in each metric: the plain one, and Adam's if it has one
    trace: tuple[float, ...] = ()  # trΣ, likewise
    measured: float = 0.0  # updates that these two are of
    losses: tuple[float, ...] = ()  # see `remembered`


class Place(NamedTuple):
    """Where in its plan a run decides."""

    batch_size: int  # of the update before
    num_examples: int  # N


class Choice(NamedTuple):
    """A batch size, and why."""

    batch_size: int
    why: str


@dataclass(frozen=True)
class NoiseScale:
    """Grow to the largest allowed batch within `target` gradient noise scales trΣ/|G|².

    McCandlish et al., arXiv 1812.06162.

    Examples:
        >>> adaptive = jbatch.Adaptive(jbatch.NoiseScale(target=0.5))
    """

    target: float = 1.0
    """Batch size over noise scale."""
    metric: Literal["plain", "adam"] = "plain"
    """In which the gradient's noise is measured."""

    def __post_init__(self) -> None:
        positive("target", self.target, of="a ratio of batch size to noise scale")
        if self.metric not in ("plain", "adam"):
            raise Mistake(f"metric is {shown(self.metric)}: give plain or adam")

    def size(self, averages: Averages, place: Place, larger: Sequence[int]) -> Choice:
        """Return the next size."""
        which = 1 if self.metric == "adam" else 0
        squared, trace = averages.squared[which], averages.trace[which]
        if squared <= 0 or trace <= 0:
            return Choice(place.batch_size, "the gradient is lost in its noise")
        scale = trace / squared
        most = self.target * scale * (1 + ROUNDING)
        within = [size for size in larger if size <= most]
        said = f"{self.target:g} × the noise scale {scale:,.4g}"
        if not within:
            return Choice(place.batch_size, f"no larger size is within {said}")
        return Choice(within[-1], f"the largest within {said}")


@dataclass(frozen=True)
class NormTest:
    """Grow to the smallest allowed batch whose mean gradient g has E|g − G|² ≤ θ²|g|².

    Byrd et al., Mathematical Programming 134 (2012), section 3. At θ = 1/√2 the limit is one noise
    scale, and at θ = 1/2 it is three.

    Examples:
        >>> adaptive = jbatch.Adaptive(jbatch.NormTest(theta=0.7))
    """

    theta: float = 0.5
    """θ, between 0 and 1. Smaller values grow the batch more."""

    def __post_init__(self) -> None:
        positive("theta", self.theta)
        if self.theta >= 1:
            raise Mistake(f"theta is {self.theta:g}, which every batch passes: give less than 1")

    def size(self, averages: Averages, place: Place, larger: Sequence[int]) -> Choice:
        """Return the next size."""
        trace, all_of_them = averages.trace[0], 1 / place.num_examples
        variance = trace * (1 / place.batch_size - all_of_them)
        length = averages.squared[0] + variance  # |g|²
        if length <= 0 or trace <= 0:
            return Choice(place.batch_size, "the gradient is lost in its noise")
        ratio = math.sqrt(variance / length)
        if ratio <= self.theta * (1 + ROUNDING):
            return Choice(place.batch_size, f"√(variance/|g|²) is {ratio:.3g}, within θ")
        wanted = 1 / (self.theta**2 * length / trace + all_of_them)
        enough = [size for size in larger if size >= wanted * (1 - ROUNDING)] or [larger[-1]]
        return Choice(enough[0], f"√(variance/|g|²) is {ratio:.3g}, which asks for {wanted:,.4g}")


@dataclass(frozen=True)
class LossStall:
    """Grow to the next allowed batch when the training loss stops falling.

    That is, when none of the last `patience` mean losses, each of the updates between two
    decisions, is below the lowest before them by the share `least`. All are of the present batch
    size.

    Examples:
        >>> adaptive = jbatch.Adaptive(jbatch.LossStall(patience=5))
    """

    patience: int = 3
    """Decisions that wait for the loss to fall."""
    least: float = 0.01
    """Share of the loss by which it must fall."""

    def __post_init__(self) -> None:
        whole("patience", self.patience)
        if not 0 <= real("least", self.least) < 1:
            raise Mistake(f"least is {shown(self.least)}: give a share of the loss, from 0 to 1")

    def size(self, averages: Averages, place: Place, larger: Sequence[int]) -> Choice:
        """Return the next size."""
        if len(averages.losses) <= self.patience:
            return Choice(place.batch_size, "too few mean losses of this batch size")
        before, *last = averages.losses
        if min(last) < before - self.least * abs(before):
            return Choice(place.batch_size, f"the loss fell from {before:.4g} to {min(last):.4g}")
        return Choice(larger[0], f"the loss stayed at {min(last):.4g}, after {before:.4g}")


Rule = NoiseScale | NormTest | LossStall


@dataclass(frozen=True)
class Adaptive:
    """Let a run decide when its batch grows, among the sizes that its plan allows.

    Examples:
        >>> adaptive = jbatch.Adaptive(jbatch.NoiseScale(target=0.5), every=200)
    """

    rule: Rule = NoiseScale()
    """What decides: NoiseScale, NormTest or LossStall."""
    every: int = 100
    """Updates from one decision to the next, and so the fewest at one batch size."""

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise Mistake(
                f"adaptive.rule is {shown(self.rule)}: give NoiseScale(), NormTest() or LossStall()"
            )
        whole("adaptive.every", self.every)

    @property
    def reads_noise(self) -> bool:
        """Whether the rule needs the measured noise of the gradient."""
        return not isinstance(self.rule, LossStall)


def choose(adaptive: Adaptive, averages: Averages, place: Place, allowed: Sequence[int]) -> Choice:
    """Return the batch size of the next updates: the present one, or a larger one.

    Args:
        adaptive: the rule.
        averages: what has been measured.
        place: where the run is.
        allowed: batch sizes, ascending.
    """
    larger = [size for size in allowed if size > place.batch_size]
    if not larger:
        return Choice(place.batch_size, "it is the largest size allowed")
    if adaptive.reads_noise and averages.measured < LEAST_MEASURED:
        count = f"{averages.measured:.0f} updates"
        return Choice(
            place.batch_size, f"its noise is measured in {count}, and {LEAST_MEASURED} are needed"
        )
    return adaptive.rule.size(averages, place, larger)


def remembered(rule: Rule, losses: tuple[float, ...], loss: float) -> tuple[float, ...]:
    """Return the mean losses that a rule reads, with a new one; () if it reads none.

    The last ones are `patience` losses, and the one before is the lowest of all earlier ones.
    """
    if not isinstance(rule, LossStall):
        return ()
    losses = (*losses, loss)
    if len(losses) > rule.patience + 1:
        losses = (min(losses[:2]), *losses[2:])
    return losses
