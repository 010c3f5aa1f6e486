"""Write a plan as a table for people and as JSON for programs."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jbatch.plan.noise import noise_scale
from jbatch.text import counted, rounded, span, text_table

if TYPE_CHECKING:  # a plan's text is made here
    from jbatch.plan.plan import Phase, Plan

# A smooth plan may have hundreds of phases, a staircase thousands of stretches. A longer table
# leaves out its middle.
MOST_ROWS = 60
MOST_STRETCHES = 20  # of a phase, in a table that would be longer


def plan_text(plan: "Plan", decaying: "Plan | None" = None, adapts: bool = False) -> str:
    """Format the table of phases, with a sub-row for each stretch between jumps of the rate.

    Args:
        plan: the plan.
        decaying: the plan at a constant batch to compare with; None for no comparison.
        adapts: whether it is of a run that decides on its batch size while it trains.
    """
    parts = _parts(plan)
    rows = [_cells(plan, *part) for part in _ends(parts)]
    header = ["phase", plan.measure.unit, "updates", "batch", "learning rate", "noise scale"]
    if plan.measure.unit == "updates":  # of the base batch, which need not be the plan's own
        header[1] = "base updates"
    if plan.num_examples is not None:
        header.append("1 − B/N")
    header += [_NAMES[name] for name in _changing(plan)]
    if len(parts) > MOST_ROWS:
        left_out = f"… {len(parts) - len(rows):,} rows more (--json has all phases)"
        rows.insert(MOST_ROWS // 2, (left_out, *[""] * (len(header) - 1)))
    table = text_table(header, rows)
    rule = {1.0: "linear", 0.5: "square root", 0.0: "none"}.get(plan.scaling, "power")
    lines = [
        f"{_length(plan)}, momentum {plan.momentum:g}, scaling p = {plan.scaling:g} ({rule})",
        "",
        table,
        "",
        counted(plan.num_updates, "update") + _against(plan, decaying),
        _held(plan),
        *_followed(plan),
        *_decided(plan, adapts),
    ]
    lines += [f"Warning: {warning}." for warning in plan.warnings]
    return "\n".join(lines) + "\n"


def _length(plan: "Plan") -> str:
    """Say how long the run is: "N = 1,500 examples, 50 epochs"."""
    measure = plan.measure
    length = measure.amount(plan.length)
    if measure.unit == "tokens":
        length += f" ({measure.sequence_length:,} per example)"
    if measure.unit == "updates":
        length += f" of {counted(measure.base, 'example')}"
    if plan.num_examples is None or plan.num_epochs is None:
        return f"Stream of {length}"
    epochs = counted(rounded(plan.num_epochs, 6), "epoch", "g")
    said = f"N = {counted(plan.num_examples, 'example')}, {epochs}"
    return said if measure.unit == "epochs" else f"{said}, {length}"


def _parts(plan: "Plan") -> list[tuple[str, int, int]]:
    """List the rows of the table: (name, first update, updates)."""
    stretches = [_stretches(plan, phase) for phase in plan.phases]
    # Hundreds of steps within a phase say less than the phase's own row.
    most = math.inf if sum(1 + len(each) for each in stretches) <= MOST_ROWS else MOST_STRETCHES
    parts: list[tuple[str, int, int]] = []
    for phase, each in zip(plan.phases, stretches, strict=True):
        parts.append((str(phase.number), phase.first_update, phase.updates))
        if 1 < len(each) <= most:
            parts += [("  ·", *stretch) for stretch in each]
    return parts


def _ends(parts: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Keep all rows of a short table, or the first and last rows of a long one."""
    if len(parts) <= MOST_ROWS:
        return parts
    return [*parts[: MOST_ROWS // 2], *parts[len(parts) - (MOST_ROWS - 1) // 2 :]]


def _against(plan: "Plan", decaying: "Plan | None") -> str:
    if decaying is None:
        return ""
    size, updates = int(decaying.batch_sizes[0]), decaying.num_updates
    kept = f"; with the batch kept at {size:,} and the rate decayed, {updates:,}"
    ratio = plan.num_updates / updates
    if abs(ratio - 1) < 5e-4:
        return kept
    if ratio >= 2:
        return f"{kept}: {ratio:.3g} times as many"
    return f"{kept}: {1 - ratio:.1%} saved" if ratio < 1 else f"{kept}: {ratio - 1:.1%} more"


def _held(plan: "Plan") -> str:
    scaling = plan.scaling
    if plan.num_examples is None:
        held = f"ε/B^{scaling:g}" if scaling not in (0, 1) else "ε/B" if scaling else "the rate ε"
        return (
            f"Noise scale: ε/(1−m)/B, per example of the stream, as N is not known. Held is {held}."
        )
    if scaling == 1:
        return "Noise scale: ε/(1−m) · (N/B − 1), which falls short of the schedule's by 1 − B/N."
    held = f"ε/B^{scaling:g}" if scaling else "the schedule's rate ε"
    return f"Held is {held}, not the noise scale ε/(1−m) · (N/B − 1)."


_NAMES = {"momentum": "momentum", "b2": "β2", "eps": "Adam's ε", "weight_decay": "weight decay"}


def _changing(plan: "Plan") -> list[str]:
    """Return the optimizer's values that are not the same in all phases."""
    rows = [plan.values(phase.batch_size) for phase in plan.phases]
    return [name for name in plan.hold.names if len({getattr(row, name) for row in rows}) > 1]


def _followed(plan: "Plan") -> list[str]:
    """Say which values follow the batch, by which rule and from where."""
    if not plan.hold.names:
        return []
    said = [
        f"{_NAMES[name]} {getattr(plan, name):g} ({getattr(plan.hold, name)})"
        for name in plan.hold.names
    ]
    return [f"Following the batch, with these values at {plan.base:,}: {', '.join(said)}."]


def _decided(plan: "Plan", adapts: bool) -> list[str]:
    """Say which sizes a run chooses from, and what it has decided, now or before."""
    if plan.decided is None:
        return []
    when = "while the run trains" if adapts else "beforehand"
    allowed = ", ".join(f"{size:,}" for size in plan.decided.allowed)
    growths = plan.decided.sizes[1:]
    said = "; ".join(f"{size:,} at {plan.measure.place(start)}" for start, size in growths)
    none = "no growth yet" if adapts else "no growth"
    return [f"Decided {when}, among {allowed}: {said or none}."]


def plan_json(plan: "Plan", decaying: "Plan | None") -> dict[str, Any]:
    """Describe a plan as JSON; `learning_rate` is [first update's, last update's]."""
    return {
        "num_examples": plan.num_examples,
        "num_epochs": plan.num_epochs,
        "unit": plan.measure.unit,
        "length": plan.length,
        "sequence_length": plan.measure.sequence_length,
        "num_updates": plan.num_updates,
        "decaying_updates": decaying and decaying.num_updates,
        "scaling": plan.scaling,
        **({"hold": dataclasses.asdict(plan.hold)} if plan.hold.names else {}),
        "digest": plan.digest,
        **({} if plan.decided is None else {"decided": dict(plan.decided.sizes)}),
        "phases": [
            {
                "phase": phase.index,
                "batch_size": phase.batch_size,
                "first_update": phase.first_update,
                "updates": phase.updates,
                **_first(plan, phase),
                # A float32 holds no more digits.
                "learning_rate": [rounded(rate, 7) for rate in phase.learning_rate],
                "peak_learning_rate": rounded(
                    _rates(plan, phase.first_update, phase.updates).max(), 7
                ),
                **{
                    name: value
                    for name, value in plan.values(phase.batch_size)._asdict().items()
                    if value is not None
                },
                "noise_scale": [
                    plan.noise_scale(update)
                    for update in (phase.first_update, phase.first_update + phase.updates - 1)
                ],
            }
            for phase in plan.phases
        ],
        "warnings": list(plan.warnings),
    }


def _first(plan: "Plan", phase: "Phase") -> dict[str, float | None]:
    """Return where a phase begins, in every unit that the plan knows."""
    position, tokens = plan.position(phase.first_update), plan.measure.sequence_length
    return {
        "first_example": position,
        "first_token": None if tokens is None else position * tokens,
        "first_epoch": phase.first_epoch,
    }


def _cells(plan: "Plan", name: str, first: int, updates: int) -> tuple[str, ...]:
    last, rates, measure = first + updates - 1, _rates(plan, first, updates), plan.measure
    ends = last + 1 == plan.num_updates
    end = plan.length if ends else measure.at(plan.position(last + 1))
    size = plan.at(first).batch_size
    cells: tuple[str, ...] = (
        name,
        f"{measure.number(measure.at(plan.position(first)))} – {measure.number(end)}",
        f"{updates:,}",
        f"{size:,}",
        _span(rates),
        _span(noise_scale(rates, size, plan.momentum, plan.num_examples)),
    )
    if plan.num_examples is not None:
        cells = (*cells, f"{1 - size / plan.num_examples:.3f}")
    values = plan.values(size)
    return (*cells, *(f"{getattr(values, name):.6g}" for name in _changing(plan)))


def _rates(plan: "Plan", first: int, updates: int) -> npt.NDArray[np.float64]:
    return plan.learning_rates[first : first + updates].astype(np.float64)


def _span(values: npt.NDArray[np.float64]) -> str:
    return span(values[0], values.max(), values[-1])


def _stretches(plan: "Plan", phase: "Phase") -> list[tuple[int, int]]:
    """Find the stretches of a phase between jumps of its rate, as (first update, updates).

    A jump is a change over ten times as large as the changes on either side of it. So steps and
    restarts are jumps, and smooth decay or warm-up is not.
    """
    first, end = phase.first_update, phase.first_update + phase.updates
    changes = np.abs(np.diff(plan.learning_rates[first:end].astype(np.float64)))
    if len(changes) < 2:
        return [(first, phase.updates)]
    around = np.maximum(np.append(0, changes[:-1]), np.append(changes[1:], 0))
    rounding = 1e-6 * plan.learning_rates[first:end].max()
    jumps = first + 1 + np.flatnonzero((changes > 10 * around) & (changes > rounding))
    starts = [first, *jumps.tolist()]
    return [(a, b - a) for a, b in zip(starts, [*starts[1:], end], strict=True)]
