"""Say what was trained, from the values that a run keeps."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jbatch.data.image.augment import Augment
from jbatch.data.image.mix import Mix
from jbatch.experiment.described import describe
from jbatch.report.runs import Record
from jbatch.text import listed

LONGEST = 300  # characters of a value
MOST_NAMED = 6  # variants
DEEPEST = 5  # of values in values
OFF: tuple[Any, ...] = (None, False, 0, "", "none", [], {})  # a field with such a value is left out


class Trained(NamedTuple):
    """Hold one fact about what was trained."""

    what: str  # "network", "optimizer", …
    value: str
    variants: str  # those it is true of; empty if it is of all


def trained(records: Sequence[Record]) -> list[Trained]:
    """List network, parameters, optimizer, augmentation, dtype and data, as far as runs say."""
    found: dict[str, dict[str, list[str]]] = {}  # what → value → variants
    for record in records:
        for what, value in _facts(record).items():
            variants = found.setdefault(what, {}).setdefault(value, [])
            if record.variant not in variants:
                variants.append(record.variant)
    everyone = len({record.variant for record in records})
    return [
        Trained(
            what,
            value,
            "" if len(names) == everyone else listed(names, MOST_NAMED, ", ", " and "),
        )
        for what, values in found.items()
        for value, names in values.items()
    ]


def _facts(record: Record) -> dict[str, str]:
    task = record.described.get("task")
    task = task if isinstance(task, Mapping) else {"class": task}
    facts = {
        "task": task.get("class"),
        "network": task.get("model", task.get("module")),
        "parameters": record.parameters and f"{record.parameters:,}",
        "optimizer": record.described.get("optimizer"),
        "augmentation": _changed(task.get("augment"), Augment()),
        "mixing": _changed(task.get("mix"), Mix()),
        "dtype": task.get("dtype"),
        "data": record.described.get("data"),
    }
    if "augment" in task and facts["augmentation"] is None:
        facts["augmentation"] = "no augmentation"
    return {what: value_text(value) for what, value in facts.items() if value not in OFF}


def _changed(value: Any, default: Any) -> Any:
    """Leave out the fields that are the default's; None if all are."""
    if not isinstance(value, Mapping):
        return value
    of_default = describe(default)
    changed = {name: part for name, part in value.items() if part != of_default.get(name)}
    return {"class": of_default["class"], **changed} if changed else None


def value_text(value: Any) -> str:
    """Write a described value as Python would, without fields that are off.

    >>> value_text({"class": "MLP", "hidden": [128], "norm": None})
    'MLP(hidden=[128])'
    """
    text = _text(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _text(value: Any, depth: int = 1) -> str:
    if depth > DEEPEST and isinstance(value, Mapping | list):
        return "…"
    if isinstance(value, Mapping):
        parts = [
            f"{name}={_text(part, depth + 1)}"
            for name, part in value.items()
            if name != "class" and part not in OFF
        ]
        return f"{value.get('class', '')}({', '.join(parts)})"
    if isinstance(value, list):
        return f"[{', '.join(_text(part, depth + 1) for part in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
