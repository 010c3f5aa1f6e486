"""What a plan counts: the unit of its schedule, length, ramp, intervals and printed table.

A position is always a number of examples. This file alone converts it to the plan's unit and back.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, get_args

from jbatch.errors import Mistake, meant, shown, whole

Unit = Literal["epochs", "examples", "tokens", "updates"]
LETTERS = (("T", 10**12), ("B", 10**9), ("M", 10**6))  # of a large count


@dataclass(frozen=True)
class Measure:
    """Converts between positions (in examples) and the plan's unit.

    An update of the unit "updates" is one of a run at the base batch: in each epoch the first
    N // base · base examples count, base of them as one update. So a plan that stays at the base
    batch looks its schedule up at exactly 0, 1, 2, …
    """

    unit: Unit
    num_examples: int | None  # N; None for a stream without epochs
    sequence_length: int | None  # tokens of an example
    base: int  # examples of an update of the base batch

    @cached_property
    def per(self) -> Fraction:
        """Examples in one of the unit."""
        if self.unit == "epochs":
            assert self.num_examples is not None  # `make_measure` checks it
            return Fraction(self.num_examples)
        if self.unit == "tokens":
            assert self.sequence_length is not None  # `make_measure` checks it
            return Fraction(1, self.sequence_length)
        return Fraction(self.base if self.unit == "updates" else 1)

    @property
    def _whole_updates(self) -> tuple[int, int] | None:
        """(N, its examples in whole updates), if an epoch's remainder does not count."""
        if self.unit != "updates" or self.num_examples is None:
            return None
        return self.num_examples, self.num_examples // self.base * self.base

    def examples(self, positions: Any) -> Any:
        """Return how many examples before these positions count: int or int64, of any shape."""
        if (whole_updates := self._whole_updates) is None:
            return positions
        num_examples, each = whole_updates
        epoch, place = divmod(positions, num_examples)
        return epoch * each + place - (place > each) * (place - each)

    def at(self, position: int) -> float:
        """Return a position in the unit."""
        return int(self.examples(position)) * self.per.denominator / self.per.numerator

    def position(self, value: float) -> int:
        """Return the first position at or after `value` units; rounding never adds an example."""
        exact = Fraction(value) * self.per
        nearest = round(exact)
        rounding = max(5e-7, float(exact) * 2**-52)
        counted = nearest if abs(exact - nearest) <= rounding else math.ceil(exact)
        if (whole_updates := self._whole_updates) is None:
            return counted
        num_examples, each = whole_updates
        epoch, place = divmod(counted, each)
        return epoch * num_examples + place

    def of_epochs(self, epochs: float) -> float:
        """Return so many epochs in the unit."""
        assert self.num_examples is not None  # callers check it
        if self.unit == "epochs":
            return epochs
        each = self.num_examples if self._whole_updates is None else self._whole_updates[1]
        return float(epochs * each / self.per)

    def number(self, value: float) -> str:
        """Format a value in the unit: "4.8B" tokens, "200,192" examples, "0.5" epochs."""
        return f"{value:.6g}" if self.unit == "epochs" else short(value)

    def amount(self, value: float) -> str:
        """Format a length: "4.8B tokens", "1 epoch"."""
        return f"{self.number(value)} {self.unit if value != 1 else self.unit[:-1]}"

    def named(self, value: float) -> str:
        """Name a value: "epoch 30", "4.8B tokens"."""
        return f"epoch {value:g}" if self.unit == "epochs" else self.amount(value)

    def place(self, position: int) -> str:
        """Name a position: "epoch 30", "4.8B tokens"."""
        return self.named(self.at(position))

    def since(self, position: int) -> str:
        """Name what begins at a position: "from epoch 30", "from 4.8B tokens on,"."""
        return f"from {self.place(position)}{'' if self.unit == 'epochs' else ' on,'}"

    def between(self, first: float, last: float) -> str:
        """Name a range of values: "epochs 20 and 50", "1.2B and 2.4B tokens"."""
        if self.unit == "epochs":
            return f"epochs {first:g} and {last:g}"
        return f"{self.number(first)} and {self.number(last)} {self.unit}"


def short(count: float) -> str:
    """Format a count of any size: "200,192", "4.8B"."""
    rounded = float(f"{count:.4g}")
    for letter, scale in LETTERS:
        if rounded >= scale:
            return f"{rounded / scale:.4g}{letter}"
    return f"{count:,.0f}"


def make_measure(
    unit: str, num_examples: int | None, sequence_length: int | None, base: int
) -> Measure:
    """Check a plan's unit and what it needs, and return its measure.

    Raises:
        Mistake: if the unit is not known, or what it needs is missing.
    """
    if unit not in get_args(Unit):
        known = ", ".join(get_args(Unit))
        raise Mistake(f"unit is {shown(unit)}: give one of {known}{_meant(unit)}")
    if sequence_length is not None:
        sequence_length = whole("sequence_length", sequence_length, most=2**40)
    if unit == "epochs" and num_examples is None:
        raise Mistake(
            "num_examples is not given, and the plan counts epochs: give num_examples, or, for a "
            'stream without epochs, a length and unit="examples", "tokens" or "updates"'
        )
    if unit == "tokens" and sequence_length is None:
        raise Mistake(
            "the plan counts tokens, but sequence_length is not given: give the tokens of one "
            "example"
        )
    if unit == "updates" and num_examples is not None and base > num_examples:
        raise Mistake(
            f"the base batch of {base:,} is over the {num_examples:,} examples of an epoch, so no "
            "update of it can be counted: give a smaller base_batch_size"
        )
    return Measure(unit, num_examples, sequence_length, base)  # type: ignore[arg-type]


def _meant(unit: object) -> str:
    return meant(unit, get_args(Unit)) if isinstance(unit, str) else ""
