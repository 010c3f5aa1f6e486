"""Read the costs of a compiled program from the compiler's own analyses and its text."""

from typing import Any, NamedTuple

import jax

from jbatch.devices.memory import Memory, needed
from jbatch.estimate.hlo_text import Instruction, Module, read
from jbatch.estimate.traffic import cycles, traffic

COLLECTIVES = ("all-reduce", "reduce-scatter", "all-gather")


class Facts(NamedTuple):
    """Hold the costs of one call on one device."""

    flops: float
    accessed: float  # bytes that instructions read or write, wherever these are kept
    traffic: int  # bytes read from main memory and written to it
    cycles: int  # by the compiler's own estimate; 0 if it gives none
    reduced: int  # bytes that go into all-reduces; see `collectives` for others
    reductions: int  # all-reduces, reduce-scatters and all-gathers
    asynchronous: int  # those of them that other work can run beside
    memory: Memory


def facts_of(compiled: jax.stages.Compiled) -> Facts:
    """Read the compiler's cost and memory analyses, and the program's text.

    The compiler for GPUs that are not here has no cost analysis: its counts are 0 then.
    """
    costs, text = compiled.cost_analysis() or {}, compiled.as_text()
    assert text is not None  # XLA gives it
    module = read(text)
    found = _collectives(module)
    return Facts(
        flops=costs.get("flops", 0.0),
        accessed=costs.get("bytes accessed", 0.0),
        traffic=traffic(module),
        cycles=cycles(module),
        reduced=sum(_reduced(each, module.devices) for each in found),
        reductions=len(found),
        asynchronous=sum(each.code.endswith("-start") for each in found),
        memory=needed(compiled),
    )


def stored_facts(found: list[Any]) -> Facts:
    """Read facts back from JSON."""
    *counts, memory = found
    return Facts._make([*counts, Memory(*memory)])


def collectives(text: str) -> list[int]:
    """Return the bytes of each collective in the text of a compiled program.

    An all-reduce is a reduce-scatter and an all-gather of its result, which each count half of the
    whole array.
    """
    module = read(text)
    return [_reduced(each, module.devices) for each in _collectives(module)]


def _collectives(module: Module) -> list[Instruction]:
    return [
        each
        for computation in module.computations.values()
        for each in computation.instructions.values()
        if each.code.removesuffix("-start") in COLLECTIVES
    ]


def _reduced(each: Instruction, devices: int) -> int:
    """Return the bytes of a collective."""
    match each.code:
        case "all-gather":
            return each.bytes // 2
        case "all-gather-start":  # its result is (this device's part, the whole array)
            return each.bytes * devices // (devices + 1) // 2
        case "reduce-scatter":  # over all devices: no other is made
            return each.bytes * devices // 2
        case _:
            return each.bytes
