"""Print a verb's help: its options, and an experiment's fields."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import is_dataclass, make_dataclass, replace
from functools import partial
from inspect import getdoc
from typing import Annotated, Any, NoReturn

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from jbatch.experiment.overrides import FIELDS

CONFIG = (*FIELDS, tyro.conf.FlagCreatePairsOff)  # of a verb's own options


def wants_help(arguments: Sequence[str]) -> bool:
    """Return whether -h or --help is among the arguments."""
    return "-h" in arguments or "--help" in arguments


def print_help(options: type, usage: str, value: object = None, name: str = "") -> NoReturn:
    """Print a verb's help and exit: its options, then the fields of `value` (an experiment)."""
    kind: Any = options
    how: dict[str, Any] = {"config": CONFIG}
    if value is not None:
        own = Annotated[options, tyro.conf.arg(name=""), tyro.conf.FlagCreatePairsOff]
        fields = Annotated[type(value), tyro.conf.arg(name=name)]
        kind = make_dataclass("Both", [("options", own), ("value", fields)])
        how = {"config": FIELDS, "default": kind(options(), value)}
    with _plain_if_asked():
        tyro.cli(
            kind,
            args=["--help"],
            prog=usage,
            description=getdoc(options),
            registry=_joined(),
            **how,
        )
    raise SystemExit  # tyro has


def _joined() -> ConstructorRegistry:
    """Make descriptions one line each, which help folds: tyro keeps a docstring's line breaks."""
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
        return replace(found, fields=tuple(fields))

    return registry


def _text(field: StructFieldSpec) -> str:
    """Return a field's description in one line."""
    text = field.helptext() if callable(field.helptext) else field.helptext
    return " ".join((text or "").split())


@contextmanager
def _plain_if_asked() -> Iterator[None]:
    """Print tyro's help without colours if NO_COLOR is set: it has none in a file."""
    written = io.StringIO()
    try:
        with redirect_stdout(written) if os.environ.get("NO_COLOR") else nullcontext():
            yield
    finally:
        if text := written.getvalue():
            print(text, end="")
