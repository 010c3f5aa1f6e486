"""Let a test step in at a named point of a running program, for example to kill it there.

A test arms a point with a function in the process under test; an experiment file can do so. Each
passing of the point then calls the function with the point's value, and goes on with what it
returns. A point that is not armed costs one look-up.
"""

from collections.abc import Callable
from itertools import count
from typing import Any, Literal, TypeVar, get_args, overload

Point = Literal[
    "mesh",  # is made; value: the Mesh
    "phase begins",  # its programs are compiled
    "pass",  # of data in memory, given to the devices; value: (its Layout, its Arguments)
    "update dispatched",  # one call, of one or more updates
    "pass evaluated",
    "save begins",  # the earlier one is on disk
    "save under way",  # in the background; value: the Checkpoints
    "decision",  # of an adaptive run, about to be written; value: its line, as text
    "metrics line",  # about to be written; value: the file
]
Value = TypeVar("Value")

_armed: dict[Point, Callable[[Any], Any] | None] = dict.fromkeys(get_args(Point))


@overload
def point(name: Point) -> None: ...
@overload
def point(name: Point, value: Value) -> Value: ...
def point(name: Point, value: object = None) -> object:
    """Pass a point: return `value`, or what a test's function makes of it.

    Raises:
        KeyError: if there is no such point.
    """
    do = _armed[name]
    return value if do is None else do(value)


def at(name: Point, do: Callable[[Any], Any], number: int | None = None) -> None:
    """Arm a point, also one that is armed already.

    Args:
        name: the point.
        do: takes the point's value and returns the one to go on with.
        number: step in at this passing alone, counted from 1; None for each.

    Raises:
        KeyError: if there is no such point.
    """
    before, passings = _armed[name], count(1)

    def step_in(value: Any) -> Any:
        if before is not None:
            value = before(value)
        return do(value) if number in (None, next(passings)) else value

    _armed[name] = step_in
