"""Read the costs of a compiled program from the compiler's own analyses."""

import math
import re
from typing import NamedTuple

import jax

from jbatch.devices.memory import Memory, needed

WIDTHS = {"bf16": 2, "f16": 2, "f32": 4, "f64": 8, "s32": 4, "u32": 4, "s8": 1, "u8": 1, "pred": 1}

COLLECTIVE = r" = (.*?) (all-reduce|reduce-scatter|all-gather)(?:-start)?\((.*)"


class Facts(NamedTuple):
    """Hold the costs of one call on one device."""

    flops: float
    accessed: float  # bytes of memory read or written
    reduced: int  # bytes that go into all-reduces; see `collectives` for others
    reductions: int  # all-reduces, reduce-scatters and all-gathers
    memory: Memory


def facts_of(compiled: jax.stages.Compiled) -> Facts:
    """Read the compiler's cost and memory analyses, and the all-reduces in the program's text."""
    costs, text = compiled.cost_analysis(), compiled.as_text()
    assert costs is not None  # XLA gives both
    assert text is not None
    reduced = collectives(text)
    return Facts(
        flops=costs["flops"],
        accessed=costs["bytes accessed"],
        reduced=sum(reduced),
        reductions=len(reduced),
        memory=needed(compiled),
    )


def collectives(text: str) -> list[int]:
    """Return the bytes of each collective in the text of a compiled program.

    An all-reduce is a reduce-scatter and an all-gather of its result, which each count half of the
    whole array.
    """
    found = re.findall(COLLECTIVE, text)
    return [_of_one(kind, _size(shapes), rest) for shapes, kind, rest in found]


def _of_one(kind: str, size: int, rest: str) -> int:
    """Return the bytes of a collective, whose result on a device has `size` bytes."""
    match kind:
        case "all-gather":
            return size // 2
        case "reduce-scatter":
            return size * _devices(rest) // 2
        case _:
            return size


def _devices(rest: str) -> int:
    """Return how many devices share a collective, from its replica groups."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return listed[1].count(",") + 1
    grid = re.search(r"replica_groups=\[\d+,(\d+)\]", rest)
    return int(grid[1]) if grid else 1


def _size(shapes: str) -> int:
    return sum(map(_bytes, re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shapes)))


def _bytes(shape: tuple[str, str]) -> int:
    kind, sizes = shape
    return WIDTHS[kind] * math.prod(int(size) for size in sizes.split(",") if size)
