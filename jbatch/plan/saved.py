"""A plan as bytes, so that a report can read every update without the experiment's code."""

import dataclasses
import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np

from jbatch.plan.couple import MOST_UPDATES
from jbatch.plan.decided import Decided
from jbatch.plan.hold import Hold
from jbatch.plan.measure import make_measure
from jbatch.plan.plan import Plan

# What reading a damaged archive may raise.
DAMAGE = zipfile.BadZipFile, zlib.error, KeyError, TypeError, EOFError, OSError, RecursionError
MOST_BYTES = 24 * MOST_UPDATES  # an update has 20
_VALUES = "values"  # the member with the plan's numbers and warnings as JSON


def plan_bytes(plan: Plan) -> bytes:
    """Return the plan as a compressed NumPy archive of its arrays and values."""
    parts = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    arrays: dict[str, Any] = {
        name: part for name, part in parts.items() if isinstance(part, np.ndarray)
    }
    values = {name: part for name, part in parts.items() if name not in arrays}
    values["measure"] = dataclasses.asdict(plan.measure)
    values["hold"] = dataclasses.asdict(plan.hold)
    values["decided"] = plan.decided and dataclasses.asdict(plan.decided)
    arrays["positions"] = np.diff(plan.positions, prepend=0)  # nearly constant: they pack well
    file = io.BytesIO()
    arrays[_VALUES] = np.frombuffer(json.dumps(values).encode(), np.uint8)
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def plan_from(content: bytes) -> Plan:
    """Return the plan that `plan_bytes` has written.

    Raises:
        ValueError: if the content is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            if sum(member.file_size for member in members.infolist()) > MOST_BYTES:
                raise ValueError("it is larger than any plan")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
        values = json.loads(arrays.pop(_VALUES).tobytes())
        if any(array.ndim != 1 for array in arrays.values()):
            raise ValueError("its arrays have not one axis each")
        arrays["positions"] = np.cumsum(arrays["positions"], dtype=np.int64)
        values["warnings"] = tuple(values["warnings"])
        values["measure"] = make_measure(**values["measure"])
        values["hold"] = Hold(**values.get("hold", {}))  # earlier ones have none
        if (decided := values.get("decided")) is not None:
            sizes = tuple((int(start), int(size)) for start, size in decided["sizes"])
            values["decided"] = Decided(tuple(decided["allowed"]), sizes, decided["begun"])
        return Plan(**values, **arrays)
    except DAMAGE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
