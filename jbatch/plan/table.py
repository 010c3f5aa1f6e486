"""Write a plan as a table for people and as JSON for programs."""

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


def plan_text(plan: "Plan", decaying: "Plan | None" = None) -> str:
    """Format the table of phases, with a sub-row for each stretch between jumps of the rate.

    Args:
        plan: the plan.
        decaying: the plan at a constant batch to compare with; None for no comparison.
    """
    parts: list[tuple[str, int, int]] = []  # (name, first update, updates)
    for phase in plan.phases:
        parts.append((str(phase.index), phase.first_update, phase.updates))
        stretches = _stretches(plan, phase)
        if len(stretches) > 1:
            parts += [("  ·", *stretch) for stretch in stretches]
    rows = [_cells(plan, *part) for part in _ends(parts)]
    if len(parts) > MOST_ROWS:
        left_out = f"… {len(parts) - len(rows):,} rows more (--json has all phases)"
        rows.insert(MOST_ROWS // 2, (left_out, *[""] * 6))
    table = text_table(
        ("phase", "epochs", "updates", "batch", "learning rate", "noise scale", "1 − B/N"), rows
    )
    rule = {1.0: "linear", 0.5: "square root", 0.0: "none"}.get(plan.scaling, "power")
    lines = [
        f"N = {counted(plan.num_examples, 'example')}, {counted(plan.num_epochs, 'epoch', 'g')}, "
        f"momentum {plan.momentum:g}, scaling p = {plan.scaling:g} ({rule})",
        "",
        table,
        "",
        counted(plan.num_updates, "update") + _against(plan, decaying),
        _held(plan.scaling),
    ]
    lines += [f"Warning: {warning}." for warning in plan.warnings]
    return "\n".join(lines) + "\n"


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


def _held(scaling: float) -> str:
    if scaling == 1:
        return "Noise scale: ε/(1−m) · (N/B − 1), which falls short of the schedule's by 1 − B/N."
    held = f"ε/B^{scaling:g}" if scaling else "the schedule's rate ε"
    return f"Held is {held}, not the noise scale ε/(1−m) · (N/B − 1)."


def plan_json(plan: "Plan", decaying: "Plan | None") -> dict[str, Any]:
    """Describe a plan as JSON; `learning_rate` is [first update's, last update's]."""
    return {
        "num_examples": plan.num_examples,
        "num_epochs": plan.num_epochs,
        "num_updates": plan.num_updates,
        "decaying_updates": decaying and decaying.num_updates,
        "scaling": plan.scaling,
        "digest": plan.digest,
        "phases": [
            {
                "phase": phase.index,
                "batch_size": phase.batch_size,
                "first_update": phase.first_update,
                "updates": phase.updates,
                "first_epoch": phase.first_epoch,
                # A float32 holds no more digits.
                "learning_rate": [rounded(rate, 7) for rate in phase.learning_rate],
                "peak_learning_rate": rounded(
                    _rates(plan, phase.first_update, phase.updates).max(), 7
                ),
                "momentum": plan.momentum,
                "noise_scale": [
                    plan.noise_scale(update)
                    for update in (phase.first_update, phase.first_update + phase.updates - 1)
                ],
            }
            for phase in plan.phases
        ],
        "warnings": list(plan.warnings),
    }


def _cells(plan: "Plan", name: str, first: int, updates: int) -> tuple[str, ...]:
    last, rates = first + updates - 1, _rates(plan, first, updates)
    end = plan.at(last + 1).epoch if last + 1 < plan.num_updates else plan.num_epochs
    return (
        name,
        f"{plan.at(first).epoch:.6g} – {end:.6g}",
        f"{updates:,}",
        f"{plan.at(first).batch_size:,}",
        _span(rates),
        _span(noise_scale(rates, plan.at(first).batch_size, plan.momentum, plan.num_examples)),
        f"{1 - plan.at(first).batch_size / plan.num_examples:.3f}",
    )


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
