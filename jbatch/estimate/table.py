"""Estimates as a table for people, and as JSON for programs."""

from collections.abc import Sequence

from jbatch.devices.memory import readable
from jbatch.estimate.chips import Chip
from jbatch.estimate.roofline import CALIBRATION, Stretch
from jbatch.tables import text_table

HEADER = (
    "phase",
    "batch",
    "a chip",
    "at once",
    "memory",
    "TFLOP",
    "GB accessed",
    "MB reduced",
    "ms computing",
    "ms reducing",
    "updates/s",
    "examples/s",
    "hours",
    "efficiency",
)

MOST_STRETCHES = 40  # shown; of more the middle is left out


def estimate_text(
    stretches: Sequence[Stretch], chip: Chip, chips: int, memory: int, price: float | None
) -> str:
    """The table, its sums, and what it is worth.

    Args:
        stretches: a row each.
        chip: which.
        chips: how many.
        memory: bytes of one that programs may use.
        price: of an hour of one chip; None to say nothing of it.
    """
    shown = list(stretches)
    if len(shown) > MOST_STRETCHES:
        half = MOST_STRETCHES // 2
        shown = [*shown[:half], None, *shown[-half:]]
    left_out = (f"… {len(stretches) - MOST_STRETCHES} more (--json has all)", *[""] * 13)
    rows = [left_out if stretch is None else _cells(stretch) for stretch in shown]
    hours = sum(stretch.hours for stretch in stretches)
    cost = "" if price is None else f", {hours * chips * price:,.0f} at {price:g} an hour of a chip"
    return "\n".join(
        (
            f"Estimated for {chips:,} {chip.name} chip{'s' * (chips > 1)} "
            f"({chip.flops / 1e12:g} TFLOP/s, {chip.bandwidth / 1e9:,g} GB/s, "
            f"links {chip.links / 1e9:g} GB/s each way; {chip.source}), of whose memory programs "
            f"may have {readable(memory)}:",
            "",
            text_table(HEADER, rows),
            "",
            f"{_duration(hours)} in all, {hours * chips:,.1f} chip-hours{cost}. Not counted: "
            "evaluation, saving, compilation, waiting for input.",
            "Per update and chip: the compiler's count of arithmetic (TFLOP) and of memory read "
            "and written (GB accessed), of which the slower decides (ms computing); all-reduces as "
            "if nothing went on beside them. Efficiency: against one chip with the same batch.",
            f"These are estimates. Beside a measurement: {CALIBRATION}.",
        )
    )


def estimate_json(
    stretches: Sequence[Stretch], chip: Chip, chips: int, price: float | None
) -> dict:
    """The same as plain values; bytes and seconds are of one chip and one update."""
    hours = sum(stretch.hours for stretch in stretches)
    return {
        "estimated": True,
        "calibration": CALIBRATION,
        "chip": chip._asdict(),
        "chips": chips,
        "hours": hours,
        "chip_hours": hours * chips,
        "cost": None if price is None else hours * chips * price,
        "phases": [
            {
                "phase": stretch.phase.index,
                "batch_size": stretch.phase.batch_size,
                "per_chip": stretch.update.work.share,
                "micro_batch": stretch.update.work.micro_batch,
                "memory": stretch.update.memory,
                "flops": stretch.update.flops,
                "accessed": stretch.update.accessed,
                "reduced": stretch.update.reduced,
                "seconds_computing": stretch.update.computing,
                "seconds_reducing": stretch.update.reducing,
                "updates_per_second": 1 / stretch.update.seconds,
                "examples_per_second": stretch.phase.batch_size / stretch.update.seconds,
                "hours": stretch.hours,
                "efficiency": stretch.efficiency,
            }
            for stretch in stretches
        ],
    }


def _cells(stretch: Stretch) -> tuple[str, ...]:
    phase, update = stretch.phase, stretch.update
    return (
        str(phase.index),
        f"{phase.batch_size:,}",
        f"{update.work.share:,}",
        f"{update.work.micro_batch:,}",
        readable(update.memory),
        f"{update.flops / 1e12:,.3g}",
        f"{update.accessed / 1e9:,.3g}",
        f"{update.reduced / 1e6:,.3g}",
        f"{1e3 * update.computing:,.3g}",
        f"{1e3 * update.reducing:,.3g}",
        f"{1 / update.seconds:,.3g}",
        f"{phase.batch_size / update.seconds:,.0f}",
        f"{stretch.hours:,.2f}",
        f"{stretch.efficiency:.0%}",
    )


def _duration(hours: float) -> str:
    minutes = round(60 * hours)
    return f"{minutes:,} minutes" if minutes < 120 else f"{hours:,.1f} hours"
