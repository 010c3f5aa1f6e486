"""The exception for a user's mistake, and checks that many values share."""

import dataclasses
import difflib
import math
import numbers
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LONGEST_SHOWN = 100  # characters of a value in a message


class Mistake(ValueError):
    """The user asked for something that cannot be done.

    The message alone names the value, the limit and the fix. The command line prints it without a
    traceback and exits with code 2.

    Examples:
        >>> jbatch.couple(lambda epoch: 0.1, num_examples=1000, num_epochs=2, batch_size=2000)
        Traceback (most recent call last):
        ...
        jbatch.errors.Mistake: ...
    """


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest; None if none is near."""
    return next(iter(difflib.get_close_matches(text, known, 1)), None)


def meant(text: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known name was meant; return "" if none is near."""
    near = nearest(text, known)
    return f"; did you mean {near}?" if near else ""


def shown(value: object) -> str:
    """Format a value for a message: its repr, cut if it is long, or its type if repr fails."""
    try:
        text = repr(value)
    except Exception:  # from a user's __repr__, or for an int of thousands of digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def said(error: BaseException) -> str:
    """Return an exception's message on one line, or "" if the message cannot be made."""
    try:
        return " ".join(str(error).split())[:1000]
    except Exception:
        return ""


def plain(value: Any) -> Any:
    """Convert numbers, arrays, sequences and mappings to Python's own types."""
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


def make_plain(instance: "DataclassInstance") -> None:
    """Apply `plain` to all fields of a frozen dataclass; call it from `__post_init__`."""
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if (made := plain(value)) is not value:
            object.__setattr__(instance, field.name, made)


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return `value` as a Python int from `least` to `most`, or raise a Mistake that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise Mistake(f"{name} is {shown(value)}: give a whole number of at least {least}")
    if most is not None and number > most:
        raise Mistake(f"{name} is {shown(value)}: give a whole number of at most {most:,}")
    return number


def wholes(name: str, values: object, least: int = 1, most: int | None = None) -> list[int]:
    """Return values as Python ints from `least` to `most`, or raise a Mistake that names one."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        given = shown(values)
        raise Mistake(f"{name} is {given}: give a sequence of whole numbers, such as ({given},)")
    return [whole(name, value, least, most) for value in values]


def real(name: str, value: Any) -> float:
    """Return `value` as a Python float, or raise a Mistake that names it.

    Text, None and booleans are refused.
    """
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise Mistake(f"{name} is {shown(value)}: give a number") from None


def share(name: str, value: float) -> float:
    """Return `value`, at least 0 and below 1, or raise a Mistake that names it."""
    number = real(name, value)
    if not 0 <= number < 1:
        raise Mistake(f"{name} is {number}: give at least 0 and less than 1")
    return number


def positive(name: str, value: float, of: str = "a value") -> None:
    """Check that `value` is finite and over 0; raise a Mistake that names it if not."""
    if not 0 < (number := real(name, value)) < math.inf:
        raise Mistake(f"{name} is {number}: give {of} over 0")


def not_negative(name: str, value: float) -> None:
    """Check that `value` is finite and at least 0; raise a Mistake that names it if not."""
    if not 0 <= (number := real(name, value)) < math.inf:
        raise Mistake(f"{name} is {number}: give at least 0")
