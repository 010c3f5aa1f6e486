"""Whether an experiment's values are of the kinds that their fields say."""

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typeguard

from jbatch.errors import Mistake, shown


def check_kinds(value: Any, within: str = "") -> None:
    """See that each field of a dataclass, and of those in it, is of its annotation's kind.

    Args:
        value: the dataclass.
        within: what its fields' names begin with in a message, as "model.".

    Raises:
        Mistake: that names the field, its value and what it may be.
    """
    kinds = get_type_hints(type(value))
    for field in dataclasses.fields(value):
        part, kind = getattr(value, field.name), kinds[field.name]
        try:
            typeguard.check_type(part, kind)
        except typeguard.TypeCheckError:
            raise Mistake(f"{within}{field.name} is {shown(part)}: give {_named(kind)}") from None
        if dataclasses.is_dataclass(part):
            check_kinds(part, f"{within}{field.name}.")


def _named(kind: Any) -> str:
    """A kind in words."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_named, parts))
    if get_origin(kind) is tuple:
        return f"a tuple of {_named(parts[0])}"
    return kind.__name__ if isinstance(kind, type) and not parts else str(kind)
