"""Read the costs of a compiled program from the compiler's own analyses."""

import math
import re
from typing import NamedTuple

import jax

from jbatch.devices.memory import Memory, needed

WIDTHS = {"bf16": 2, "f16": 2, "f32": 4, "f64": 8, "s32": 4, "u32": 4, "s8": 1, "u8": 1, "pred": 1}

COLLECTIVE = r" = (.*?) (all-reduce|reduce-scatter|all-gather)(?:-start)?\("


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
    partitions = re.search(r"num_partitions=(\d+)", text)  # in the program's first line
    devices = int(partitions[1]) if partitions else 1
    return [_of_one(kind, _size(shapes), devices) for shapes, kind in re.findall(COLLECTIVE, text)]


def _of_one(kind: str, size: int, devices: int) -> int:
    """Return the bytes of a collective, whose result on a device has `size` bytes."""
    match kind:
        case "all-gather":
            return size // 2
        case "reduce-scatter":  # over all devices: no other is made
            return size * devices // 2
        case _:
            return size


def _size(shapes: str) -> int:
    return sum(map(_bytes, re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shapes)))


def _bytes(shape: tuple[str, str]) -> int:
    kind, sizes = shape
    return WIDTHS[kind] * math.prod(int(size) for size in sizes.split(",") if size)
