"""The flags of a dataclass's fields, and the one that a person may have meant."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from tyro.conf import Suppress

from jbatch.errors import nearest


def flags(of: Any, within: str = "--") -> Iterator[str]:
    """List the flags of a dataclass, or of a value of one, parts of parts with dots between."""
    try:
        hints = get_type_hints(of if isinstance(of, type) else type(of), include_extras=True)
    except Exception:  # of a person's own code
        hints = {}
    for field in fields(of):
        marks = getattr(hints.get(field.name), "__metadata__", ())
        if Suppress in marks:
            continue
        named = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
        name, part = within + named.replace("_", "-"), getattr(of, field.name, None)
        if is_dataclass(part) and not isinstance(part, type):
            yield from flags(part, f"{name}.")
        elif not callable(part):
            yield name


def meant_flag(text: str, known: Iterable[str]) -> str:
    """Ask whether the nearest flag was meant, first one with the same last part; "" if none is."""
    names = list(known)
    by_last = {_last(name): name for name in reversed(names)}
    last = _last(text)
    if "--plan.rate" in names and last in ("lr", "learning-rate", "schedule"):
        return "; the schedule is in the file, and --plan.rate is a factor on it"
    if last in by_last:
        return f"; did you mean {by_last[last]}?"
    group, dot, _ = text.partition(".")
    near = nearest(text, [name for name in names if name.startswith(group + dot)] if dot else names)
    if not (near or dot):
        near = by_last.get(nearest(last, by_last) or "")
    return f"; did you mean {near}?" if near else ""


def _last(flag: str) -> str:
    """Return the last part of a flag's name: "momentum" of "--plan.momentum"."""
    return flag.lstrip("-").rpartition(".")[2].removeprefix("no-").replace("_", "-")
