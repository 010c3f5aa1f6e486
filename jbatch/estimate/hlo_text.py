"""Read the text of a compiled program: its instructions, their arrays, and where these are kept."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")
COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
CALLED = re.compile(r"(\w+)=(?:%([\w.\-]+)|\{((?:%[\w.\-]+(?:, )?)+)\})")


class Array(NamedTuple):
    """An array that an instruction takes or gives."""

    bytes: int
    stored: int  # bytes with the padding of its tiles
    on_chip: bool  # not in the chip's main memory


class Instruction(NamedTuple):
    """One instruction of a scheduled program."""

    name: str
    code: str  # as "fusion"
    arrays: tuple[Array, ...]  # of its result; those of a tuple one after the other
    operands: tuple[str, ...]  # names of instructions of the same computation
    calls: Mapping[str, tuple[str, ...]]  # as {"body": ("region_1",)}
    attributes: str  # the rest of its text

    @property
    def bytes(self) -> int:
        """Return the bytes of its result."""
        return sum(array.bytes for array in self.arrays)


class Computation(NamedTuple):
    """A function of the program, in the order of its schedule."""

    instructions: Mapping[str, Instruction]
    parameters: tuple[str, ...]  # names, in order
    root: str  # name


class Module(NamedTuple):
    """A whole program."""

    computations: Mapping[str, Computation]
    entry: str  # name
    devices: int


def read(text: str) -> Module:
    """Read the text of a scheduled module, as `Compiled.as_text()` gives it."""
    computations, entry = {}, ""
    lines: list[str] = []
    name = None
    for line in text.splitlines():
        begun = COMPUTATION.match(line)
        if begun:
            name, lines = begun[2], []
            entry = name if begun[1] else entry
        elif line.startswith("}") and name is not None:  # it may go on: , execution_thread="…"
            computations[name] = _computation(lines)
            name = None
        else:
            lines.append(line)
    partitions = re.search(r"num_partitions=(\d+)", text)  # in the program's first line
    return Module(computations, entry, int(partitions[1]) if partitions else 1)


def _computation(lines: list[str]) -> Computation:
    instructions, parameters, root = {}, {}, ""
    for line in lines:
        found = INSTRUCTION.match(line)
        if found is None:
            continue
        is_root, name, kind, code, rest = found.groups()
        arguments, attributes = _cut(rest)
        calls = {
            key: tuple(re.findall(r"[\w.\-]+", one or many))
            for key, one, many in CALLED.findall(attributes)
        }
        arrays = tuple(_array(*each) for each in ARRAY.findall(kind))
        operands = tuple(re.findall(r"%([\w.\-]+)", arguments))
        instructions[name] = Instruction(name, code, arrays, operands, calls, attributes)
        if code == "parameter":
            parameters[int(arguments)] = name
        root = name if is_root else root
    return Computation(instructions, tuple(parameters[n] for n in sorted(parameters)), root)


def _cut(rest: str) -> tuple[str, str]:
    """Cut what follows an opening parenthesis at the one that closes it."""
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return rest[:place], rest[place + 1 :]
    return rest, ""


def _array(kind: str, sizes: str, order: str, layout: str) -> Array:
    shape = [int(size) for size in sizes.split(",") if size]
    width = _width(kind)
    space = re.search(r"S\((\d+)\)", layout)
    tile = re.match(r"T\(([\d,]+)\)", layout)
    stored = shape
    if tile:
        tiles = [int(size) for size in tile[1].split(",")][::-1]  # from the minor dimension on
        minor = [shape[int(axis)] for axis in order.split(",") if axis]
        minor += [1] * (len(tiles) - len(minor))
        stored = [*(-(-n // t) * t for n, t in zip(minor, tiles, strict=False))]
        stored += minor[len(tiles) :]
    return Array(
        bytes=math.ceil(width * math.prod(shape)),
        stored=math.ceil(width * math.prod(stored)),
        on_chip=space is not None and space[1] != "0",
    )


def _width(kind: str) -> float:
    """Return the bytes of a number, of which the name of its kind gives the bits, as in bf16."""
    if kind == "pred":
        return 1
    bits = re.search(r"\d+", kind)
    return int(bits[0]) / 8 if bits else 0  # a token has none
