"""Count what a compiled program moves to and from the chip's main memory."""

import re
from collections.abc import Callable, Iterable

from jbatch.estimate.hlo_text import Array, Instruction, Module

FREE = {  # they move nothing: names for arrays that are there, and numbers known before
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "opt-barrier"),
    *("after-all", "partition-id", "replica-id", "iota", "domain"),
}
SLICES = ("slice", "dynamic-slice", "gather")  # they read only what they give


def traffic(module: Module) -> int:
    """Return the bytes that a program reads from main memory and writes to it.

    Each instruction reads its operands once and writes its result once. Arrays that the compiler
    keeps on the chip do not count, and of an asynchronous copy only its start counts. A loop counts
    as often as it runs, if the program says how often; else once.
    """
    return int(total(module, lambda computation, each: _moved(module, computation, each)))


def cycles(module: Module) -> int:
    """Return the sum of the cycles that a TPU's compiler wrote to instructions; 0 elsewhere."""
    return int(total(module, lambda _, each: _cycles(each)))


def total(module: Module, cost: Callable[[str, Instruction], float]) -> float:
    """Add up a cost over all instructions as often as they run; loops cost what is in them."""

    def of(name: str) -> float:
        found = 0.0
        for each in module.computations[name].instructions.values():
            match each.code:
                case "while":
                    times = re.search(r'"known_trip_count":\{"n":"(\d+)"', each.attributes)
                    inner = sum(map(of, _called(each, "body", "condition")))
                    found += inner * (int(times[1]) if times else 1)
                case "conditional":
                    keys = ("branch_computations", "true_computation", "false_computation")
                    found += max(map(of, _called(each, *keys)), default=0.0)
                case "call" | "async-start":
                    found += sum(map(of, _called(each, "to_apply", "calls")))
                case _:
                    found += cost(name, each)
        return found

    return of(module.entry)


def _called(each: Instruction, *keys: str) -> Iterable[str]:
    return [name for key in keys for name in each.calls.get(key, ())]


def _cycles(each: Instruction) -> int:
    found = re.search(r'"estimated_cycles":"(\d+)"', each.attributes)
    return int(found[1]) if found else 0


def _moved(module: Module, name: str, each: Instruction) -> int:
    if each.code in FREE or each.code.endswith("-done"):
        return 0
    # They give (copy, original, a semaphore), and (this device's, another's, semaphores).
    if each.code in ("copy-start", "collective-permute-start"):
        return _outside(each.arrays[:2])
    if each.code == "slice-start":  # it gives (original, slice, a semaphore)
        original, part, *_ = each.arrays
        return sum(part.stored for array in (original, part) if not array.on_chip)
    given = module.computations[name].instructions
    operands = [given[operand] for operand in each.operands if operand in given]
    match each.code:
        case "all-gather-start":  # it gives (this device's part, the whole array)
            return _outside(each.arrays)
        case "dynamic-update-slice":  # in place
            change = operands[1].arrays
            return _outside(change) + min(_stored(change), _outside(each.arrays))
        case code if code in SLICES:
            read = min(_stored(each.arrays), _outside(operands[0].arrays))
            return read + _outside(each.arrays)
        case "fusion":
            [callee] = each.calls["calls"]
            reads = (
                min(_outside(operand.arrays), _read(module, callee, place))
                for place, operand in enumerate(operands)
            )
            return sum(reads) + _written(module, callee, each)
        case _:
            return sum(_outside(operand.arrays) for operand in operands) + _outside(each.arrays)


def _read(module: Module, callee: str, place: int) -> int:
    """Return how much of a parameter a fusion reads at most: of one that it slices, the slices."""
    computation = module.computations[callee]
    whole = computation.parameters[place]

    def of(name: str) -> int:
        found = 0
        for user in computation.instructions.values():
            if name not in user.operands:
                continue
            first = user.operands[0] == name
            if user.code == "bitcast":
                found += of(user.name)
            elif user.code in SLICES and first:
                found += _stored(user.arrays)
            elif user.code == "fusion":
                places = [n for n, operand in enumerate(user.operands) if operand == name]
                found += sum(_read(module, user.calls["calls"][0], n) for n in places)
            elif not (user.code == "dynamic-update-slice" and first):
                return _stored(computation.instructions[name].arrays)
        return found

    return of(whole)


def _written(module: Module, callee: str, each: Instruction) -> int:
    """Return what a fusion writes: of a result that it changes in place, the change."""
    computation = module.computations[callee]
    root = computation.instructions[computation.root]
    names = root.operands if root.code == "tuple" else (root.name,)
    if len(names) != len(each.arrays):
        return _outside(each.arrays)
    found = 0
    for name, array in zip(names, each.arrays, strict=True):
        one = computation.instructions[name]
        while one.code == "bitcast":
            one = computation.instructions[one.operands[0]]
        changed = array.stored
        if one.code == "dynamic-update-slice":
            changed = _stored(computation.instructions[one.operands[1]].arrays)
        found += 0 if array.on_chip else min(array.stored, changed)
    return found


def _outside(arrays: Iterable[Array]) -> int:
    return sum(array.stored for array in arrays if not array.on_chip)


def _stored(arrays: Iterable[Array]) -> int:
    return sum(array.stored for array in arrays)
