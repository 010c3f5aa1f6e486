"""Print a verb's help: its options, and an experiment's fields."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import is_dataclass, make_dataclass, replace
from functools import partial
from inspect import getdoc
from shutil import get_terminal_size
from textwrap import TextWrapper
from typing import Annotated, Any, NoReturn

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from jbatch.experiment.overrides import FIELDS
from jbatch.messages import show

CONFIG = (*FIELDS, tyro.conf.FlagCreatePairsOff)  # of a verb's own options


def wants_help(arguments: Sequence[str]) -> bool:
    """Return whether -h or --help is among the arguments."""
    return "-h" in arguments or "--help" in arguments


def print_help(options: type, usage: str, value: object = None, name: str = "") -> NoReturn:
    """Print a verb's help and exit: its options, then the fields of `value` (an experiment)."""
    kind: Any = options
    how: dict[str, Any] = {"config": CONFIG}
    if value is not None:
        own = (tyro.conf.arg(name=""), tyro.conf.FlagCreatePairsOff)
        both = {
            "options": Annotated[(options, *own)],
            "value": Annotated[(type(value), tyro.conf.arg(name=name))],
        }
        kind = make_dataclass("Both", both.items())
        how = {"config": FIELDS, "default": kind(options(), value)}
    written = io.StringIO()  # without colours and boxes
    with redirect_stdout(written), suppress(SystemExit):
        tyro.cli(
            kind,
            args=["--help"],
            description="",
            registry=_joined(),
            **how,
        )
    rows = "\n".join(map(str.rstrip, written.getvalue().splitlines())).partition("\n\n")[2]
    description = folded(getdoc(options) or "", get_terminal_size().columns)
    show(f"usage: {usage} [OPTIONS]\n\n{description}\n\n{rows}")
    raise SystemExit(0)


def folded(text: str, width: int) -> str:
    """Fold the paragraphs of a docstring, except lists (indented lines) and examples to copy."""
    lines = TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each if "\n " in each or each.startswith("For example:") else lines.fill(each)
        for each in paragraphs
    )


def _joined() -> ConstructorRegistry:
    """Make options' descriptions one line each, which help folds; --trust comes last.

    tyro itself keeps a docstring's line breaks.
    """
    registry, asking = ConstructorRegistry(), False

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not is_dataclass(info.type):
            return None
        asking = True  # the rules below this one
        try:
            found = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        if not isinstance(found, StructConstructorSpec):
            return None
        fields = (replace(field, helptext=partial(_text, field)) for field in found.fields)
        return replace(found, fields=tuple(sorted(fields, key=lambda field: field.name == "trust")))

    return registry


def _text(field: StructFieldSpec) -> str:
    """Return a field's description in one line."""
    text = field.helptext() if callable(field.helptext) else field.helptext
    return " ".join((text or "").split())
