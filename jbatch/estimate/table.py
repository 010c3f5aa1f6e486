"""Print estimates as a table for people, and as JSON for programs."""

from collections.abc import Callable, Sequence
from typing import Any

from jbatch.estimate.chips import Chip
from jbatch.estimate.roofline import Stretch, calibration
from jbatch.text import byte_size, counted, duration, text_table

HEADER = (
    "phase",
    "batch",
    "per chip",
    "micro-batch",
    "memory",
    "TFLOP",
    "GB traffic",
    "MB reduced",
    "ms computing",
    "ms reducing",
    "updates/s",
    "examples/s",
    "hours",
    "efficiency",
)

MOST_STRETCHES = 40  # shown; a longer plan's middle is left out


def estimate_text(
    stretches: Sequence[Stretch], chip: Chip, chips: int, memory: int, price: float | None
) -> str:
    """Return the table, its totals and a calibration of the estimate, as text.

    Args:
        stretches: one for each row.
        chip: the kind of chip.
        chips: their number.
        memory: bytes of a chip that programs may use.
        price: of an hour of one chip; None to leave out the cost.
    """
    shown: list[Stretch | None] = list(stretches)
    if len(shown) > MOST_STRETCHES:
        half = MOST_STRETCHES // 2
        shown = [*shown[:half], None, *shown[-half:]]
    left_out = (f"… {len(stretches) - MOST_STRETCHES} more (--json has all)", *[""] * 13)
    rows = [left_out if stretch is None else _cells(stretch) for stretch in shown]
    hours = sum(stretch.hours for stretch in stretches)
    compared = calibration(chip)
    factors = (1.0, compared.slowest)
    least = hours * chips

    def ranged(form: Callable[[float], str], value: float) -> str:
        return " to ".join(form(value * factor) for factor in factors)

    cost = ""
    if price is not None:
        cost = f", {ranged(lambda it: f'{it:,.0f}', least * price)} at {price:g} per chip-hour"
    measured = f"A measured update took {compared.slowest:g} times the estimate: {compared.text}."
    return "\n".join(
        (
            f"Estimated for {counted(chips, f'{chip.name} chip')} "
            f"({chip.flops / 1e12:g} TFLOP/s, {chip.bandwidth / 1e9:,g} GB/s, "
            f"links {chip.links / 1e9:g} GB/s each way; {chip.source}). Programs may use "
            f"{byte_size(memory)} of a chip's memory:",
            "",
            text_table(HEADER, rows),
            "",
            f"{ranged(duration, hours)} in total, {ranged(lambda it: f'{it:,.1f}', least)} "
            f"chip-hours{cost}. Not counted: evaluation, saving, compilation, waiting for input.",
            "Per update and chip, TFLOP is the compiler's count of arithmetic, and GB traffic what "
            "the compiled program reads from the chip's memory and writes to it. The slower of the "
            "two gives ms computing. All-reduces are taken without overlap. Efficiency: against "
            "one chip with the same batch.",
            "These are estimates at the published peaks, so the table's times are the least, and "
            f"its speeds the most, that the chips allow. {measured}",
        )
    )


def estimate_json(
    stretches: Sequence[Stretch], chip: Chip, chips: int, price: float | None
) -> dict[str, Any]:
    """Return the same as plain values; bytes and seconds are per chip and update."""
    hours = sum(stretch.hours for stretch in stretches)
    compared = calibration(chip)
    return {
        "estimated": True,
        "calibration": compared._asdict(),
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
                "traffic": stretch.update.traffic,
                "cycles": stretch.update.cycles,
                "reduced": stretch.update.reduced,
                "reductions": stretch.update.reductions,
                "asynchronous_reductions": stretch.update.asynchronous,
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
        str(phase.number),
        f"{phase.batch_size:,}",
        f"{update.work.share:,}",
        f"{update.work.micro_batch:,}",
        byte_size(update.memory),
        f"{update.flops / 1e12:,.3g}",
        f"{update.traffic / 1e9:,.3g}",
        f"{update.reduced / 1e6:,.3g}",
        f"{1e3 * update.computing:,.3g}",
        f"{1e3 * update.reducing:,.3g}",
        f"{1 / update.seconds:,.3g}",
        f"{phase.batch_size / update.seconds:,.0f}",
        f"{stretch.hours:,.2f}",
        f"{stretch.efficiency:.0%}",
    )
