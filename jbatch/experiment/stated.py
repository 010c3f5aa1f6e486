"""What an experiment file states before its runs begin; each run keeps it for reports."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

from jbatch.errors import Mistake
from jbatch.experiment.comparison import Comparison
from jbatch.experiment.described import describe
from jbatch.experiment.experiment import Experiment


@dataclass(frozen=True)
class Stated:
    """What an experiment file says beside the values of one run."""

    docstring: str = ""
    comparison: Comparison | None = None
    variants: dict[str, Any] = field(default_factory=dict)  # name → its values, in file's order

    def agrees(self, other: "Stated", variant: str) -> bool:
        """Return whether both say the same of a variant."""
        values = self.variants.get(variant)
        return values is not None and values == other.variants.get(variant)


def stated(
    docstring: str, variants: Mapping[str, Experiment], comparison: Comparison | None
) -> Stated:
    """Return what a file, or a study made in Python, states."""
    values: dict[str, Any] = {}
    for name, variant in variants.items():
        try:
            values[name] = describe(variant) | {"schedule": _digest(variant.plan.schedule)}
        except Mistake:  # it cannot be trained, so no run is its
            values[name] = None
    return Stated(docstring, comparison, values)


def _digest(function: Callable[..., Any]) -> str:
    """Return a SHA-256 of a function's code and of the values that it closes over.

    Moving it to another line changes nothing. Another version of Python may give another digest.
    Of other callables, such as jitted functions, it may know the type alone.
    """
    hashed = hashlib.sha256()
    for part in _parts(function, set()):
        hashed.update(part.encode(errors="surrogateescape"))
    return hashed.hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, CodeType):
        yield f"{value.co_name} {value.co_code.hex()} {value.co_names}"
        yield from _parts(value.co_consts, seen)
    elif isinstance(value, FunctionType):
        if id(value) not in seen:  # a function may close over itself
            seen.add(id(value))
            yield from _parts(value.__code__, seen)
            yield from _parts(value.__defaults__ or (), seen)
            for cell in value.__closure__ or ():
                with suppress(ValueError):  # an empty cell
                    yield from _parts(cell.cell_contents, seen)
    elif isinstance(value, tuple | list | frozenset | set):
        ordered = isinstance(value, tuple | list)
        for part in value if ordered else sorted(value, key=repr):
            yield from _parts(part, seen)
    elif " at 0x" in repr(value):  # an address differs from process to process
        yield type(value).__qualname__
    else:
        yield f"{type(value).__qualname__} {value!r}"
