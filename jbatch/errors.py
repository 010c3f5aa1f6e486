"""The one exception for a person's mistake, and the checks that many values share."""

import difflib
import math
import operator
from collections.abc import Iterable


class Mistake(ValueError):
    """Something a person asked for cannot be done.

    The message names the value, the limit and the fix, on its own: the command line prints it
    without a traceback and exits with code 2.
    """


def meant(text: str, known: Iterable[str]) -> str:
    """A question that names the nearest of what is known; empty if nothing is near."""
    close = difflib.get_close_matches(text, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def whole(name: str, value, least: int = 1, most: int | None = None) -> int:
    """`value` as a Python int from `least` to `most`, or a Mistake that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise Mistake(f"{name} is {value!r}: give a whole number of at least {least}")
    if most is not None and number > most:
        raise Mistake(f"{name} is {value!r}: give a whole number of at most {most}")
    return number


def wholes(name: str, values, least: int = 1) -> list[int]:
    """Several values as Python ints of at least `least`, or a Mistake that names them."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise Mistake(f"{name} is {values!r}: give several whole numbers, as ({values!r},) for one")
    return [whole(name, value, least) for value in values]


def real(name: str, value) -> float:
    """`value` as a Python float, or a Mistake that names it: text, None and True are no numbers."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise Mistake(f"{name} is {value!r}: give a number") from None


def share(name: str, value: float) -> None:
    """See that `value` is from 0 up to, not including, 1, or a Mistake that names it."""
    if not 0 <= real(name, value) < 1:
        raise Mistake(f"{name} is {value}: give a value from 0 up to, not including, 1")


def positive(name: str, value: float, of: str = "a value") -> None:
    """See that `value` is over 0 and finite, or a Mistake that names it."""
    if not 0 < real(name, value) < math.inf:
        raise Mistake(f"{name} is {value}: give {of} over 0")


def not_negative(name: str, value: float) -> None:
    """See that `value` is at least 0 and finite, or a Mistake that names it."""
    if not 0 <= real(name, value) < math.inf:
        raise Mistake(f"{name} is {value}: give at least 0")
