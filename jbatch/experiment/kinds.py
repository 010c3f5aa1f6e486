"""Check an experiment's values against its fields' types."""

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typeguard

from jbatch.errors import Mistake, shown

ALL_ITEMS = typeguard.CollectionCheckStrategy.ALL_ITEMS


def check_kinds(value: Any, within: str = "") -> None:
    """Check the fields of a dataclass, and of dataclasses in it, against their annotations.

    Args:
        value: the dataclass.
        within: prefix of the fields' names in messages, such as "model.".

    Raises:
        Mistake: names the field, its value and the types allowed.
    """
    kinds = get_type_hints(type(value))
    for field in dataclasses.fields(value):
        part, kind = getattr(value, field.name), kinds[field.name]
        try:
            typeguard.check_type(part, kind, collection_check_strategy=ALL_ITEMS)
        except typeguard.TypeCheckError:
            raise Mistake(f"{within}{field.name} is {shown(part)}: give {_named(kind)}") from None
        # A person's own dataclass may have annotations of any kind.
        if dataclasses.is_dataclass(part) and type(part).__module__.startswith("jbatch."):
            check_kinds(part, f"{within}{field.name}.")


def _named(kind: Any) -> str:
    """Describe a type in words."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_named, parts))
    if get_origin(kind) is tuple:
        return f"a tuple of {_named(parts[0])}"
    return kind.__name__ if isinstance(kind, type) and not parts else str(kind)
