"""Describe experiments as JSON, and find how two differ."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jbatch.errors import Mistake, shown
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.origin import Origin
from jbatch.printable import printable


@dataclass(frozen=True)
class Identity:
    """The values that tell a run from others; kept in its run directory."""

    origin: Origin | None
    described: dict[str, Any]  # the experiment's values, as JSON
    plan: str  # SHA-256 of the plan
    data: str  # SHA-256 of the dataset's examples
    program: str  # SHA-256 of one update's computation
    table: str  # the printed plan


def describe(value: Any) -> Any:
    """Describe an experiment's values as JSON.

    Functions are left out, because the plan's digest covers them.
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
            described = {name: describe(v) for name, v in parts.items() if not callable(v)}
            return {"class": type(value).__name__, **described}
    raise Mistake(
        f"an experiment holds {shown(value)}, a {type(value).__name__}, which jbatch cannot record "
        "as JSON: use numbers, text, tuples, arrays or dataclasses of them"
    )


def differences_between(there: Experiment, here: Experiment) -> list[str]:
    """List the differences between two experiments, functions left out."""
    return differences_in(describe(there), describe(here))


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
