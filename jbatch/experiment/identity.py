"""What an experiment is, described as JSON, and how two differ."""

import dataclasses
import hashlib
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
    """What tells a run from others; written into its directory."""

    origin: Origin | None
    described: dict  # the experiment's values, as JSON
    plan: str  # SHA-256 of the plan
    data: str  # … of which examples the dataset holds
    program: str  # … of what one update computes
    table: str  # the printed plan


def describe(value: Any) -> Any:
    """An experiment's values as JSON. Functions are left out: the plan's digest stands for them."""
    match value:
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
        f"an experiment holds {shown(value)}, a {type(value).__name__}, which cannot be described: "
        "give numbers, text, tuples, arrays or dataclasses of them"
    )


def differences_between(there: Experiment, here: Experiment) -> list[str]:
    """What of two experiments is other, but for functions."""
    return differences_in(describe(there), describe(here))


def differences_in(there: Any, here: Any, name: str = "") -> list[str]:
    """What differs between two descriptions, below a name."""
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
