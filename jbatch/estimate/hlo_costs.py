"""Read the costs of a compiled program from the compiler's own analyses."""

import math
import re
from typing import NamedTuple

import jax

from jbatch.devices.memory import Memory, needed

WIDTHS = {"bf16": 2, "f16": 2, "f32": 4, "f64": 8, "s32": 4, "u32": 4, "s8": 1, "u8": 1, "pred": 1}


class Facts(NamedTuple):
    """Hold the costs of one call on one device."""

    flops: float
    accessed: float  # bytes of memory read or written
    reduced: int  # bytes that go into all-reduces
    reductions: int  # all-reduces
    memory: Memory


def facts_of(compiled: jax.stages.Compiled) -> Facts:
    """Read the compiler's cost and memory analyses, and the all-reduces in the program's text."""
    costs, text = compiled.cost_analysis(), compiled.as_text()
    assert costs is not None  # XLA gives both
    assert text is not None
    reduced = all_reduces(text)
    return Facts(
        flops=costs["flops"],
        accessed=costs["bytes accessed"],
        reduced=sum(reduced),
        reductions=len(reduced),
        memory=needed(compiled),
    )


def all_reduces(text: str) -> list[int]:
    """Return the bytes of each all-reduce in the text of a compiled program."""
    found = re.findall(r" = (.*?) all-reduce(?:-start)?\(", text)
    return [sum(map(_bytes, re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shapes))) for shapes in found]


def _bytes(shape: tuple[str, str]) -> int:
    kind, sizes = shape
    return WIDTHS[kind] * math.prod(int(size) for size in sizes.split(",") if size)
