"""The claims that a comparison of experiments tests, stated before it is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jbatch.errors import Mistake, make_plain, meant, positive, shown, wholes

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """The score of an evaluation that reports show and compare."""

    name: str  # in the lines of metrics
    better: Better
    scale: float  # shown values are this many times those of the lines
    unit: str  # of a difference of shown values
    over_run: str = "test"  # the set that runs evaluate on again and again

    @property
    def curve_label(self) -> str:
        """What its curves over a run show, in words."""
        return f"{self.over_run} {self.name.replace('_', ' ')}"

    @property
    def label(self) -> str:
        """The metric in words."""
        return f"test {self.name.replace('_', ' ')}"

    @property
    def of_values(self) -> str:
        """The unit of its values: a difference of percentages is in points."""
        return "%" if self.unit == "points" else self.unit

    @property
    def with_unit(self) -> str:
        """The metric with the unit of its values."""
        return f"{self.label} {self.of_values}".strip()

    @property
    def is_share(self) -> bool:
        """Whether it goes from 0 to 1 and 1 is best, so that 1 − value is an error."""
        return self.better == "higher" and self.unit == "points"

    def of(self, line: Mapping[str, Any]) -> float:
        """Return the value of an evaluation's line, as it is shown."""
        return float(self.scale * line[self.name])


ACCURACY = Metric("accuracy", "higher", 100, "points")


@dataclass(frozen=True)
class Claim:
    """Which variants should end with the baseline's test metric, and which should not.

    Examples:
        >>> claim = jbatch.Claim("decaying", same=("growing",), different=("constant",))
    """

    baseline: str
    """Name of the variant that the others are compared with, seed by seed."""
    same: tuple[str, ...] = ()
    """Variants that should end within the margin of the baseline."""
    different: tuple[str, ...] = ()
    """Controls: variants that should end outside the margin."""
    title: str = ""
    """Name of the claim in reports; empty for the baseline's name."""

    def __post_init__(self) -> None:
        make_plain(self)
        texts = {"baseline": (self.baseline,), "same": self.same, "different": self.different}
        for name, values in texts.items():
            if not isinstance(values, tuple) or not all(isinstance(text, str) for text in values):
                raise Mistake(
                    f"{name} of a claim is {shown(getattr(self, name))}: give a tuple of names "
                    "of variants, such as ('increasing',)"
                )

    @property
    def name(self) -> str:
        """The claim's name in reports."""
        return self.title or self.baseline

    @property
    def variants(self) -> tuple[str, ...]:
        """All variants that the claim names."""
        return (self.baseline, *self.same, *self.different)


@dataclass(frozen=True)
class Comparison:
    """The claims about a file's variants that `jbatch compare` tests, stated before it is run.

    Examples:
        >>> claim = jbatch.Claim("decaying", same=("growing",))
        >>> comparison = jbatch.Comparison((claim,), margin=0.5, seeds=(0, 1, 2))
    """

    claims: tuple[Claim, ...] = ()
    """Each claim has its own baseline."""
    margin: float = 0.5
    """Difference of the metric, in its unit, within which two variants count as the same."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Every variant is run once with each seed."""
    metric: str | None = None
    """The score to compare. None: accuracy if the task scores it, else the loss."""
    better: Better | None = None
    """Whether higher or lower values are better. None: lower for scores with loss or error in their
    name, higher for others."""
    scale: float | None = None
    """Shown values are this many times the scores. None: 100 for accuracy, 1 for others."""
    unit: str | None = None
    """Unit of a difference of shown values. None: points if the scale is 100, else none."""
    reach: float | None = None
    """Value of the metric, as shown, up to which reports count epochs, updates and seconds."""
    reach_loss: float | None = None
    """Training loss up to which reports count epochs, updates and seconds."""

    def __post_init__(self) -> None:
        make_plain(self)
        if not isinstance(self.claims, tuple) or not all(
            isinstance(claim, Claim) for claim in self.claims
        ):
            raise Mistake(f"claims is {shown(self.claims)}: give a tuple, such as (Claim(…),)")
        wholes("seeds", self.seeds, least=0, most=2**32 - 1)
        positive("margin", self.margin)
        if self.better not in (None, "higher", "lower"):
            raise Mistake(f"better is {shown(self.better)}: give 'higher' or 'lower'")
        if self.scale is not None:
            positive("scale", self.scale)
        if None not in (self.reach, self.reach_loss):
            raise Mistake("reach and reach_loss are both given: give one of them")
        if self.reach is not None:
            positive("reach", self.reach)
        if self.reach_loss is not None:
            positive("reach_loss", self.reach_loss)
        names = [claim.name for claim in self.claims]
        if twice := {name for name in names if names.count(name) > 1}:
            raise Mistake(
                f"several claims are called {', '.join(sorted(twice))}: give each its own title"
            )

    def target(self, metric: Metric) -> str:
        """Return the value that runs should reach, in words; empty if none is set."""
        if self.reach is not None:
            space = "" if metric.of_values in ("%", "") else " "
            return f"{metric.curve_label} {self.reach:g}{space}{metric.of_values}"
        return "" if self.reach_loss is None else f"training loss {self.reach_loss:g}"

    def reached(self, line: Mapping[str, Any], metric: Metric) -> bool:
        """Tell whether a line of a run's metrics reaches the target."""
        if self.reach is not None:
            if line["kind"] != "eval":
                return False
            value = metric.of(line)
            return value >= self.reach if metric.better == "higher" else value <= self.reach
        return bool(
            self.reach_loss is not None
            and line["kind"] == "train"
            and line["loss"] <= self.reach_loss
        )

    @property
    def variants(self) -> set[str]:
        """All variants that the claims name."""
        return {name for claim in self.claims for name in claim.variants}


def better_when(name: str) -> Better:
    """Return which values of a score are better, by its name."""
    return "lower" if any(word in name for word in ("loss", "error")) else "higher"


def metric_of(comparison: Comparison | None, names: Sequence[str]) -> Metric:
    """Return the metric that reports show.

    Args:
        comparison: may say which.
        names: of the scores that the runs' evaluations have.

    Raises:
        Mistake: if it says one that they do not have.
    """
    asked = comparison or Comparison()
    name = asked.metric or (ACCURACY.name if ACCURACY.name in names or not names else "loss")
    if names and name not in names:
        raise Mistake(
            f"the comparison's metric is {name!r}, which the runs do not score: set metric to one "
            f"of {', '.join(names)}{meant(name, names)}"
        )
    scale = asked.scale or (ACCURACY.scale if name == ACCURACY.name else 1.0)
    unit = ("points" if scale == 100 else "") if asked.unit is None else asked.unit
    return Metric(name, asked.better or better_when(name), scale, unit)
