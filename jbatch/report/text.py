"""Print a comparison as text."""

import re
from collections.abc import Sequence

import numpy as np

from jbatch.experiment.comparison import Comparison
from jbatch.report.curves import Curve, compare_curves
from jbatch.report.more_seeds import more_seeds_text
from jbatch.report.runs import (
    BESIDE,
    Finding,
    Floats,
    Record,
    Summary,
    awaited,
    by_variant,
    find,
    lost,
    saved_updates,
    summarize,
)
from jbatch.report.speed import not_faster
from jbatch.report.transient import transient_text, transients
from jbatch.text import counted, signed, significant, text_table, with_error

HEADER = (
    "schedule",
    "test metric",
    *(name.replace("_", " ") for name in BESIDE),
    "updates",
    "saved",
    "batches",
    "training loss",
    "training s",
    "cost",
    "updates/s",
    "examples/s",
    "input wait",
)


def comparison_table(
    summaries: Sequence[Summary], comparison: Comparison | None, price: float | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return (header, a row for each variant): means over seeds ± standard deviations.

    Columns that are empty for every variant are left out.

    Args:
        summaries: of variants.
        comparison: with its target, there are columns for the way there.
        price: of a device for an hour; with it, there is a column for the cost of a run.
    """
    saved = saved_updates(summaries, comparison)
    metric = summaries[0].metric
    to = comparison.target(metric) if comparison else ""
    cells = [dict(part.split(" ", 1) for part in summary.cell) for summary in summaries]
    fields = swept(summaries)
    first, *others = (metric.with_unit if name == "test metric" else name for name in HEADER)
    header = (first, *fields, *others, *(f"{what} to {to}" for what in ("epochs", "updates", "s")))
    rows = [
        (
            summary.of_file,
            *(cell.get(field, "") for field in fields),
            _mean(summary.test_metric, ".2f" if metric.unit == "points" else ".4g")
            + _of_how_many(summary),
            *(_beside(summary, name) for name in BESIDE),
            f"{round(summary.updates.mean()):,}",
            f"{round(saved[summary.variant], 2):z.0%}" if summary.variant in saved else "",
            batches(summary),
            _mean(summary.training_loss, ".4f" if summary.training_loss.mean() < 100 else ".2g"),
            f"{summary.training_seconds.mean():,.1f}",
            _cost(summary, price),
            significant(summary.updates_per_second.mean(), 2),
            significant(summary.examples_per_second.mean(), 2),
            f"{summary.input_wait.mean():.1%}" if summary.input_wait.any() else "",
            *(_reached(summary) if to else ("",) * 3),
        )
        for summary, cell in zip(summaries, cells, strict=True)
    ]
    columns = zip(header, *rows, strict=True)
    header, *rows = zip(*(column for column in columns if any(column[1:])), strict=True)
    return header, rows


def comparison_text(records: Sequence[Record], comparison: Comparison | None) -> str:
    """Return the table, its notes and the outcome of the claims as text."""
    summaries = summarize(records, comparison)
    findings, gone = find(summaries, comparison), lost(records, comparison)
    said = conclusion(findings, gone, awaited(records, comparison))
    curves = [curve_text(curve) for curve in compare_curves(records, comparison)]
    more = [text for text in map(more_seeds_text, findings) if text]
    slow = not_faster(records, comparison)
    header, rows = comparison_table(summaries, comparison) if summaries else (("schedule",), [])
    return "\n".join(
        (
            text_table(header, rows),
            "",
            *table_notes(header, summaries),
            *diverged(records),
            *(["", *slow] if slow else []),
            *(["", *map(finding_text, findings), said, *more] if findings or gone else []),
            *(["", *curves] if curves else []),
            *(["", *memories] if (memories := transient_lines(records)) else []),
        )
    )


def table_notes(header: Sequence[str], summaries: Sequence[Summary]) -> list[str]:
    """Explain the columns of a comparison's table."""
    seeds = len({seed for summary in summaries for seed in summary.seeds})
    over = f"Means over {seeds} seeds, ± standard deviation. " if seeds > 1 else ""
    saved = " Saved: share of the baseline's updates." if "saved" in header else ""
    wait = "; input wait: share of the training time" if "input wait" in header else ""
    cost = (
        [
            "Cost: the price of all devices of a run's first start, for its whole time with "
            "compilation, evaluation and saving, without work lost to kills."
        ]
        if "cost" in header
        else []
    )
    return [
        f"{over}Training loss: of the last log interval.{saved}",
        "Seconds, updates/s and examples/s: training alone, without compilation, evaluation and "
        f"saving{wait}.",
        *cost,
    ]


def swept(runs: Sequence[Record | Summary]) -> list[str]:
    """Return the grid's fields, of runs in a sweep."""
    return list(dict.fromkeys(part.partition(" ")[0] for run in runs for part in run.cell))


def changed(records: Sequence[Record]) -> str:
    """Return the overrides that all runs share; empty if there are none."""
    each = [re.split(r" (?=--)", " ".join(record.overrides)) for record in records]
    shared = [text for text in each[0] if all(text in texts for texts in each)]
    return " ".join(text for text in shared if not text.startswith("--seed "))


def diverged(records: Sequence[Record]) -> list[str]:
    """Name the diverged runs in one line; no line if there are none."""
    names = [
        f"{record.variant} seed {record.seed} (by update {record.lines[-1]['update']:,})"
        for record in records
        if record.diverged
    ]
    return [f"Diverged: {'; '.join(names)}."] if names else []


def _of_how_many(summary: Summary) -> str:
    """Return how many runs a mean covers, if some diverged."""
    finished = len(summary.seeds)
    return f" ({finished} of {finished + summary.diverged})" if summary.diverged else ""


def _cost(summary: Summary, price: float | None) -> str:
    """Return the mean cost of a run; empty without a price."""
    return "" if price is None else significant(price * float(summary.device_hours.mean()), 3)


def _beside(summary: Summary, name: str) -> str:
    return _mean(summary.beside[name], ".4g") if name in summary.beside else ""


def _reached(summary: Summary) -> tuple[str, ...]:
    """Return means over seeds, or how many seeds reached the target."""
    if np.isnan(summary.reached).all():
        return ("never", "", "")
    if np.isnan(summary.reached).any():
        seeds = int((~np.isnan(summary.reached[:, 0])).sum())
        return (f"{seeds} of {len(summary.reached)}", "", "")
    epochs, updates, seconds = summary.reached.mean(0)
    return significant(epochs, 3), f"{updates:,.0f}", significant(seconds, 3)


def transient_lines(records: Sequence[Record]) -> list[str]:
    """Return a line for each variant with a measured memory of its momentum."""
    found = transients(by_variant(records))
    return [transient_text(variant, memory) for variant, memory in found.items()]


def batches(summary: Summary) -> str:
    """Return the batch sizes in short."""
    sizes = [f"{phase.batch_size:,}" for phase in summary.plan.phases]
    return " → ".join(sizes if len(sizes) <= 5 else [*sizes[:2], "…", sizes[-1]])


def finding_text(finding: Finding) -> str:
    """Describe one finding in a line."""
    interval = "no interval from one seed"
    if finding.interval is not None:
        interval = "95% interval {} to {}".format(
            *(signed(each, finding.margin) for each in finding.interval)
        )
    claim = "outside" if finding.control else "within"
    outcome = {True: "as claimed", False: "NOT as claimed", None: "undecided"}[finding.as_claimed]
    if finding.diverged:
        outcome += f", because {counted(finding.diverged, 'run')} diverged"
    elif finding.alike:
        outcome += ", because its two seeds differ by the same"
    of = finding.metric.unit and f"{finding.metric.unit} of "
    return (
        f"{finding.variant} − {finding.baseline}: {signed(finding.mean, finding.margin)} {of}"
        f"{finding.metric.label} ({interval}), claimed {claim} ±{finding.margin:g}: {outcome}"
    )


def curve_text(curve: Curve) -> str:
    """Describe how far two curves coincide, in a line."""
    undecided = curve.epochs - curve.within - curve.outside
    counts = {"outside": curve.outside, "undecided": undecided}
    rest = ", ".join(f"{what} at {count}" for what, count in counts.items() if count)
    low, high = (signed(each, curve.margin) for each in curve.interval)
    return (
        f"{curve.variant} − {curve.baseline}, {curve.quantity}: mean over the epochs "
        f"{signed(curve.mean, curve.margin)}{curve.unit} (95% interval {low} to {high}); within "
        f"±{curve.margin:g}{curve.unit} at {curve.within} of {curve.epochs} epochs"
        f"{f', {rest}' if rest else ''} (95% intervals, paired by seed); the largest "
        f"{signed(curve.largest, curve.margin)}{curve.unit} (epoch {curve.at:g})"
    )


def conclusion(
    findings: Sequence[Finding], lost: Sequence[str] = (), awaited: Sequence[str] = ()
) -> str:
    """Conclude whether the claim holds.

    Args:
        findings: of the claim.
        lost: its variants that only diverged.
        awaited: its variants that have no run yet, or one that has not ended.
    """
    failed = [finding.variant for finding in findings if finding.as_claimed is False]
    if failed:
        return f"The claim does not hold here: {', '.join(failed)}."
    unclear = [finding for finding in findings if finding.as_claimed is None]
    diverged = [*lost, *(finding.variant for finding in unclear if finding.diverged)]
    few = [finding.variant for finding in unclear if not finding.diverged]
    reasons = {"because runs diverged": diverged, "at this number of seeds": few}
    said = [f"Undecided {why}: {', '.join(names)}." for why, names in reasons.items() if names]
    if awaited and not said:
        return f"The claim holds so far; still to run: {', '.join(awaited)}."
    return " ".join(said) or "The claim holds here."


def _mean(values: Floats, form: str) -> str:
    return with_error(values.mean(), values.std(ddof=1) if len(values) > 1 else None, form)
