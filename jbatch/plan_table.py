"""A plan on paper: as a table for people and as JSON for programs."""

import numpy as np

from jbatch.plan import Phase, Plan
from jbatch.tables import text_table

# A smooth plan may have hundreds of phases; beyond this many the middle of the table is left out.
MOST_PHASES = 40


def plan_text(plan: Plan, decaying_updates: int | None = None) -> str:
    """The table of phases, with a sub-row for each stretch between jumps of the rate.

    Args:
        plan: the plan.
        decaying_updates: updates of the plan that keeps the first batch and decays the rate; None
            to say nothing of it.
    """
    phases = plan.phases
    shown = phases
    if len(phases) > MOST_PHASES:
        shown = (*phases[: MOST_PHASES // 2], *phases[-MOST_PHASES // 2 :])
    rows = []
    for before, phase in zip((None, *shown), shown, strict=False):
        if before is not None and before.index + 1 != phase.index:
            rows.append((f"… {len(phases) - len(shown)} more (--json has all)", *[""] * 6))
        rows.append(_cells(plan, str(phase.index), phase.first_update, phase.updates))
        parts = _stretches(plan, phase)
        if len(parts) > 1:
            rows += [_cells(plan, "  ·", first, updates) for first, updates in parts]
    table = text_table(
        ("phase", "epochs", "updates", "batch", "learning rate", "noise scale", "1 − B/N"), rows
    )
    rule = {1.0: "linear", 0.5: "square root"}.get(plan.scaling, "power")
    lines = [
        f"N = {plan.num_examples:,} examples, {plan.num_epochs:g} epochs, momentum "
        f"{plan.momentum:g}, scaling p = {plan.scaling:g} ({rule})",
        "",
        table,
        "",
        f"{plan.num_updates:,} updates" + _against(plan, decaying_updates),
        _held(plan.scaling),
    ]
    lines += [f"Warning: {warning}." for warning in plan.warnings]
    return "\n".join(lines) + "\n"


def _against(plan: Plan, decaying_updates: int | None) -> str:
    if decaying_updates is None:
        return ""
    saved = 1 - plan.num_updates / decaying_updates
    return (
        f"; with the batch kept at {plan.phases[0].batch_size:,} and the rate decayed, "
        f"{decaying_updates:,}" + (f": {saved:.1%} saved" if saved > 0 else "")
    )


def _held(scaling: float) -> str:
    if scaling == 1:
        return "Noise scale: ε/(1−m) · (N/B − 1), which falls short of the schedule's by 1 − B/N."
    held = f"ε/B^{scaling:g}" if scaling else "the schedule's rate ε"
    return f"Held is {held}, not the noise scale ε/(1−m) · (N/B − 1)."


def plan_json(plan: Plan, decaying_updates: int) -> dict:
    """The same as plain values; `learning_rate` is that of the first and the last update."""
    return {
        "num_examples": plan.num_examples,
        "num_epochs": plan.num_epochs,
        "num_updates": plan.num_updates,
        "decaying_updates": decaying_updates,
        "scaling": plan.scaling,
        "digest": plan.digest,
        "phases": [
            {
                "phase": phase.index,
                "batch_size": phase.batch_size,
                "first_update": phase.first_update,
                "updates": phase.updates,
                "first_epoch": phase.first_epoch,
                "learning_rate": [short(rate) for rate in phase.learning_rate],
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


def short(rate: float) -> float:
    """A float32 rate without the digits that float32 does not have: 0.1, not 0.10000000149."""
    return float(f"{rate:.7g}")


def _cells(plan: Plan, name: str, first: int, updates: int) -> tuple[str, ...]:
    last = first + updates - 1
    end = plan.at(last + 1).epoch if last + 1 < plan.num_updates else plan.num_epochs
    return (
        name,
        f"{plan.at(first).epoch:.6g} – {end:.6g}",
        f"{updates:,}",
        f"{plan.at(first).batch_size:,}",
        _span(plan.at(first).learning_rate, plan.at(last).learning_rate),
        _span(plan.noise_scale(first), plan.noise_scale(last)),
        f"{1 - plan.at(first).batch_size / plan.num_examples:.3f}",
    )


def _span(first: float, last: float) -> str:
    a, b = f"{first:.4g}", f"{last:.4g}"
    return a if a == b else f"{a} → {b}"


def _stretches(plan: Plan, phase: Phase) -> list[tuple[int, int]]:
    """(first update, updates) between the jumps of the rate within one phase.

    A jump is a change ten times as large as the changes on either side of it, so that steps and
    restarts count and smooth decay or warm-up does not.
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
