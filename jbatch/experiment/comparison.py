"""The claims that a comparison of experiments tests, stated before it is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jbatch.errors import Mistake, make_plain, positive, shown, wholes


@dataclass(frozen=True)
class Claim:
    """Which variants should end with the baseline's accuracy, and which should not."""

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
    """The claims about a file's variants that `jbatch compare` tests, stated before it is run."""

    claims: tuple[Claim, ...] = ()
    """Each claim has its own baseline."""
    margin: float = 0.5
    """Percentage points of test accuracy within which two variants count as the same."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Every variant is run once with each seed."""
    reach_accuracy: float | None = None
    """Test accuracy, in percent, up to which reports count epochs, updates and seconds."""
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
        if None not in (self.reach_accuracy, self.reach_loss):
            raise Mistake("reach_accuracy and reach_loss are both given: give one of them")
        if self.reach_accuracy is not None:
            positive("reach_accuracy", self.reach_accuracy, of="percent")
        if self.reach_loss is not None:
            positive("reach_loss", self.reach_loss)
        names = [claim.name for claim in self.claims]
        if twice := {name for name in names if names.count(name) > 1}:
            raise Mistake(
                f"several claims are called {', '.join(sorted(twice))}: give each its own title"
            )

    @property
    def target(self) -> str:
        """The accuracy or loss that runs should reach, in words; empty if none is set."""
        if self.reach_accuracy is not None:
            return f"test accuracy {self.reach_accuracy:g}%"
        return "" if self.reach_loss is None else f"training loss {self.reach_loss:g}"

    def reached(self, line: Mapping[str, Any]) -> bool:
        """Tell whether a line of a run's metrics reaches the target."""
        if self.reach_accuracy is not None:
            return bool(line["kind"] == "eval" and 100 * line["accuracy"] >= self.reach_accuracy)
        return bool(
            self.reach_loss is not None
            and line["kind"] == "train"
            and line["loss"] <= self.reach_loss
        )

    @property
    def variants(self) -> set[str]:
        """All variants that the claims name."""
        return {name for claim in self.claims for name in claim.variants}
