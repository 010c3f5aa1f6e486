"""What a run directory says of its run, and telling runs apart.

experiment.py   the experiment file, as it was
run.json        variant, overrides, values of the experiment, digest of the plan
plan.txt        the printed plan
metrics.jsonl   a line for each log point and each evaluation
tensorboard/    the same as events
checkpoints/    the last two states
"""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbatch.errors import Mistake
from jbatch.experiment import Experiment
from jbatch.files import write_whole
from jbatch.machine import usable_cores
from jbatch.plan import Plan
from jbatch.plan_table import plan_text


@dataclass(frozen=True)
class Origin:
    """Where an experiment was taken from; from this eval, report and resume make it again."""

    file: Path
    variant: str
    overrides: tuple[str, ...] = ()


def claim(directory: Path, experiment: Experiment, plan: Plan, origin: Origin | None) -> None:
    """Make `directory` the run's, or see that it is already.

    Raises:
        Mistake: if it holds something else; nothing in it is changed then.
    """
    identity = {"plan_digest": plan.digest, "experiment": describe(experiment)}
    if (directory / "run.json").exists():
        stored = read_run(directory)
        # What a field did not say when the run was made is what it says by itself.
        stored["experiment"] = describe(Experiment(experiment.plan)) | stored["experiment"]
        _refuse_other(directory, stored, identity)
        return
    if directory.exists() and not _unclaimed(directory):
        raise Mistake(
            f"{directory} exists and is no run directory (it has no run.json): give another"
        )
    source = None
    if origin is not None:
        source = {"variant": origin.variant, "overrides": list(origin.overrides)}
        text = origin.file.read_text()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot make the run directory {directory}: {error.strerror}") from error
    if origin is not None:
        write_whole(directory / "experiment.py", text)
    write_whole(
        directory / "plan.txt", plan_text(plan, experiment.plan.decaying().plan().num_updates)
    )
    # Last, since it is what makes the directory a run's.
    values = {"origin": source, **identity, "environment": environment()}
    write_whole(directory / "run.json", json.dumps(values, indent=2) + "\n")


def _unclaimed(directory: Path) -> bool:
    """Whether it is empty but for what a claim that was cut short leaves behind."""
    ours = {"experiment.py", "plan.txt"}
    return directory.is_dir() and all(
        path.name.removesuffix(".tmp") in ours | {"run.json"} for path in directory.iterdir()
    )


def other_environment(directory: Path) -> list[str]:
    """What differs between the machine that a run was begun on and this one, if it matters."""
    there, here = read_run(directory)["environment"], environment()
    differs = [
        f"{name} {there.get(name)} there, {here[name]} here"
        for name in ("devices", "cores", "jax")
        if there.get(name) != here[name]
    ]
    if not differs:
        return []
    return [f"begun elsewhere ({'; '.join(differs)}): parameters agree to float rounding only"]


def environment() -> dict:
    """Hardware and versions that a run was made with."""
    device = jax.devices()[0]
    return {
        "devices": f"{jax.device_count()} × {device.device_kind}",
        "cores": usable_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jbatch", "jax", "flax", "optax")},
    }


def read_run(directory: Path) -> dict:
    """The contents of run.json; Mistake if there is none or it is damaged."""
    path = directory / "run.json"
    if not path.exists():
        raise Mistake(
            f"{directory} is no run directory: it has no run.json; give one that train made"
        )
    try:
        values = json.loads(path.read_text())
        complete = {"origin", "plan_digest", "experiment", "environment"} <= values.keys()
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise Mistake(
            f"{path} is damaged ({error}): restore it, or start in another run directory"
        ) from error
    if not complete:
        raise Mistake(f"{path} is damaged (parts are missing): restore it, or start in another")
    return values


def read_origin(directory: Path) -> Origin:
    """Where the run's experiment came from, its file as it was then."""
    origin = read_run(directory)["origin"]
    file = directory / "experiment.py"
    if origin is None or not file.exists():
        raise Mistake(
            f"{directory} has no experiment.py to make its experiment from: only runs of "
            "`jbatch train` and `jbatch compare` can be read again"
        )
    return Origin(file, origin["variant"], tuple(origin["overrides"]))


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
    raise TypeError(f"an experiment holds a {type(value).__name__}, which cannot be described")


def _refuse_other(directory: Path, stored: dict, identity: dict) -> None:
    differences = _differences(stored["experiment"], identity["experiment"])
    if not differences and stored["plan_digest"] != identity["plan_digest"]:
        differences = ["the schedule gives other rates or sizes"]
    if differences:
        raise Mistake(
            f"{directory} holds another run: {'; '.join(differences)}. Give another run directory, "
            "or the experiment that it was made with"
        )


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            difference
            for key in {**there, **here}
            for difference in _differences(
                there.get(key), here.get(key), f"{name}.{key}".strip(".")
            )
        ]
    return [] if there == here else [f"{name} is {there} there and {here} here"]
