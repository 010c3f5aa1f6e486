"""Describe experiments as JSON, and find how two differ."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jbatch.errors import Mistake, shown
from jbatch.experiment.experiment import Coupling
from jbatch.printable import printable

LIBRARIES = ("flax", "jax", "optax")  # their values are described by name


def describe(value: Any) -> Any:
    """Describe an experiment's values as JSON.

    A function is described by its name: the program's digest covers what it computes. The plan's
    digest stands for its schedule.
    """
    match value:
        case float() if not math.isfinite(value):  # JSON has no such numbers
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case Mapping():
            return {str(key): describe(part) for key, part in value.items()}
        case list() | tuple():
            return [describe(part) for part in value]
        case np.ndarray():
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            return f"{value.dtype} {value.shape} sha256 {digest}"
        case _ if dataclasses.is_dataclass(value):
            fields = [field for field in dataclasses.fields(value) if field.compare]
            parts = {field.name: getattr(value, field.name) for field in fields}
            if isinstance(value, Coupling):
                del parts["schedule"]
            return {
                "class": type(value).__name__,
                **{name: describe(part) for name, part in parts.items()},
            }
        case _ if callable(value) or type(value).__module__.partition(".")[0] in LIBRARIES:
            return _named(value)
    raise Mistake(
        f"an experiment holds {shown(value)}, a {type(value).__name__}, which jbatch cannot record "
        "as JSON: use numbers, text, tuples, arrays or dataclasses of them"
    )


def _named(value: Any) -> str:
    """Name a function, a class, or a value of a library."""
    if isinstance(value, functools.partial):
        return f"{_named(value.func)} with {shown(value.args)} {shown(value.keywords)}"
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else f"a {type(value).__qualname__}"


def differences_in(there: Any, here: Any, name: str = "") -> list[str]:
    """List the differences between two descriptions; `name` prefixes their fields."""
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            difference
            for key in {**there, **here}
            for difference in differences_in(
                there.get(key), here.get(key), f"{name}.{key}".strip(".")
            )
        ]
    if there == here:
        return []
    return [f"{name} is {_shown(there)} there and {_shown(here)} here"]


def _shown(value: Any) -> str:
    return printable(shown(value) if isinstance(value, dict | list) else str(value)[:1000], "")
