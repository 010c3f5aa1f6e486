"""The one exception for a person's mistake, and the checks that many values share."""

import dataclasses
import difflib
import math
import numbers
import operator
from collections.abc import Iterable, Mapping

LONGEST_SHOWN = 100  # characters of a value in a message


class Mistake(ValueError):
    """Something a person asked for cannot be done.

    The message names the value, the limit and the fix, on its own: the command line prints it
    without a traceback and exits with code 2.
    """


def meant(text: str, known: Iterable[str]) -> str:
    """A question that names the nearest of what is known; empty if nothing is near."""
    close = difflib.get_close_matches(text, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(value) -> str:
    """A value in a message: its repr, cut where it is long; its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # somebody else's, or of a number with thousands of digits
        return f"one {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def said(error: BaseException) -> str:
    """What an exception says, in a line; nothing if that fails too."""
    try:
        return " ".join(str(error).split())[:1000]
    except Exception:
        return ""


def plain(value):
    """A number of NumPy's, JAX's or any kind, and any sequence, as Python's own."""
    axes = getattr(value, "ndim", None) if hasattr(value, "dtype") else None
    if axes == 0:
        return value.item()
    if axes == 1:
        return tuple(value.tolist())
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):
        return float(value)
    if isinstance(value, list | range | tuple) and not hasattr(value, "_fields"):
        return tuple(map(plain, value))
    if isinstance(value, Mapping):
        return {plain(key): plain(part) for key, part in value.items()}
    return value


def make_plain(instance) -> None:
    """The same for all fields of a frozen dataclass, while it is made."""
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if (made := plain(value)) is not value:
            object.__setattr__(instance, field.name, made)


def whole(name: str, value, least: int = 1, most: int | None = None) -> int:
    """`value` as a Python int from `least` to `most`, or a Mistake that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise Mistake(f"{name} is {shown(value)}: give a whole number of at least {least}")
    if most is not None and number > most:
        raise Mistake(f"{name} is {shown(value)}: give a whole number of at most {most:,}")
    return number


def wholes(name: str, values, least: int = 1, most: int | None = None) -> list[int]:
    """Several values as Python ints from `least` to `most`, or a Mistake that names them."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        given = shown(values)
        raise Mistake(f"{name} is {given}: give several whole numbers, as ({given},) for one")
    return [whole(name, value, least, most) for value in values]


def real(name: str, value) -> float:
    """`value` as a Python float, or a Mistake that names it: text, None and True are no numbers."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise Mistake(f"{name} is {shown(value)}: give a number") from None


def share(name: str, value: float) -> float:
    """`value`, from 0 up to, not including, 1, or a Mistake that names it."""
    number = real(name, value)
    if not 0 <= number < 1:
        raise Mistake(f"{name} is {number}: give a value from 0 up to, not including, 1")
    return number


def positive(name: str, value: float, of: str = "a value") -> None:
    """See that `value` is over 0 and finite, or a Mistake that names it."""
    if not 0 < (number := real(name, value)) < math.inf:
        raise Mistake(f"{name} is {number}: give {of} over 0")


def not_negative(name: str, value: float) -> None:
    """See that `value` is at least 0 and finite, or a Mistake that names it."""
    if not 0 <= (number := real(name, value)) < math.inf:
        raise Mistake(f"{name} is {number}: give at least 0")
