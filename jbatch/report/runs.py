"""Represent runs read back from their directories, and test a comparison's claims on them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from jbatch.errors import Mistake
from jbatch.experiment.comparison import Comparison, Metric, metric_of
from jbatch.experiment.described import differences_in
from jbatch.plan.plan import Plan
from jbatch.run.metrics import scores_in, scores_of, scores_text

Floats = npt.NDArray[np.float64]
ALIKE = 1e-9  # differences that differ by less are the same, but for rounding
BESIDE = ("perplexity", "bits_per_byte")  # of language models, shown beside the metric


@dataclass(frozen=True, repr=False)
class Record:
    """Hold one run, read from its directory."""

    directory: Path
    variant: str
    described: Mapping[str, Any]  # the experiment's values
    plan: Plan
    lines: Sequence[Mapping[str, Any]]  # of metrics.jsonl
    environment: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, float] = field(default_factory=dict)  # seconds by activity
    cell: tuple[str, ...] = ()  # of a sweep's grid: the last parts of the variant's name
    overrides: tuple[str, ...] = ()  # of the command line
    stated: bool = False  # whether it keeps what a file or a study states of all its runs
    validated: bool = False  # whether its evaluations are of a validation set
    table: str = ""  # the printed plan
    parameters: int | None = None  # older runs do not say
    series: str = ""  # where its experiment says that reports draw it
    point: Mapping[str, float] | None = None

    def __repr__(self) -> str:
        scores = f": {scores_text(scores_of(self.final))}" if self.evaluations else ""
        return f"<Record of {self.variant} seed {self.seed}{scores}>"

    @property
    def of_file(self) -> str:
        """Return the variant's name in the file, without the cell."""
        return self.variant.removesuffix("".join(f", {part}" for part in self.cell))

    @property
    def seed(self) -> int:
        """Return the run's seed."""
        seed: int = self.described["seed"]
        return seed

    @property
    def training(self) -> list[Mapping[str, Any]]:
        """Return the log lines of training."""
        return [line for line in self.lines if line["kind"] == "train"]

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """Return the log lines of evaluations."""
        return [line for line in self.lines if line["kind"] == "eval"]

    @property
    def final(self) -> Mapping[str, Any]:
        """Return the line with the scores to report: of the test set at the end, or the newest."""
        ended = [line for line in self.lines if line["examples"] == self.plan.end]
        tested = [line for line in ended if line["kind"] == "test"]
        return tested[-1] if tested else self.evaluations[-1]

    @property
    def finished(self) -> bool:
        """Return whether the run has reached the end of its plan."""
        last = [lines[-1]["examples"] for lines in (self.training, self.evaluations) if lines]
        return last == [self.plan.end] * 2

    @property
    def updates(self) -> int:
        """Return the updates taken by a finished run, or planned for an unfinished one."""
        return self.training[-1]["update"] if self.finished else self.plan.num_updates

    @property
    def diverged(self) -> bool:
        """Return whether the run ended because its loss was not finite."""
        return bool(self.lines) and self.lines[-1]["kind"] == "diverged"

    @property
    def training_seconds(self) -> float:
        """Return seconds of training alone, without compilation, evaluation and saving."""
        return self.seconds_to(self.training[-1]["update"]) if self.training else 0.0

    def seconds_to(self, update: int) -> float:
        """Return the `training_seconds` before an update, interpolated between log points."""
        return float(self.seconds_at([update])[0])

    def seconds_at(self, updates: Sequence[int]) -> Floats:
        """Return the `training_seconds` before each of the updates."""
        ends = np.array([0, *(line["update"] for line in self.training)])
        speeds = np.array([line["updates_per_second"] for line in self.training])
        spent = np.append(0.0, np.cumsum(np.diff(ends) / speeds))
        found: Floats = np.interp(updates, ends, spent)
        return found

    @property
    def devices(self) -> int | None:
        """Return the number of devices of the first start; None if it is not known."""
        count = str(self.environment.get("devices")).partition(" ")[0]
        return int(count) if count.isdecimal() and len(count) < 10 else None

    @property
    def trained(self) -> float:
        """Return the number of examples trained on, without those skipped at the ends of epochs."""
        before, examples = 0, 0.0
        for line in self.training:
            seconds = (line["update"] - before) / line["updates_per_second"]
            examples += line["examples_per_second"] * seconds
            before = line["update"]
        return examples

    def device_hours(self, lines: Sequence[Mapping[str, Any]]) -> Floats:
        """Return all devices' hours before each line, all activities included; nan if unknown."""
        seconds = np.array([line["seconds"] for line in lines])
        return (self.devices or math.nan) * seconds / 3600

    def reached(self, comparison: Comparison | None) -> tuple[float, float, float]:
        """Return (epochs, updates, training seconds) to the comparison's target; nan if never."""
        metric = metric_in([self], comparison)
        for line in self.lines:
            if comparison is not None and comparison.reached(line, metric):
                return line["epoch"], line["update"], self.seconds_to(line["update"])
        return math.nan, math.nan, math.nan

    @property
    def input_wait(self) -> float:
        """Return the share of training time spent waiting for examples."""
        before, waited = 0, 0.0
        for line in self.training:  # older runs lack it; their data were in memory
            seconds = (line["update"] - before) / line["updates_per_second"]
            waited += line.get("input_wait", 0.0) * seconds
            before = line["update"]
        return waited / self.training_seconds


@dataclass(frozen=True)
class Summary:
    """Summarize the runs of one variant over its seeds."""

    variant: str
    of_file: str  # the variant without the cell of a grid
    cell: tuple[str, ...]  # as "plan.batch-size 32"
    plan: Plan
    seeds: tuple[int, ...]
    updates: npt.NDArray[np.int64]  # (seeds,), taken
    training_loss: Floats  # (seeds,), mean over the last log interval
    metric: Metric
    test_metric: Floats  # (seeds,), as it is shown
    training_seconds: Floats  # (seeds,), without compilation, evaluation and saving
    updates_per_second: Floats  # (seeds,), of these
    examples_per_second: Floats  # (seeds,)
    input_wait: Floats  # (seeds,), share of the time of training
    reached: Floats  # (seeds + diverged, 3), epochs, updates, seconds; nan if never
    diverged: int = 0  # number of runs; of the arrays only `reached` counts them
    beside: Mapping[str, Floats] = field(default_factory=dict)  # (seeds,), scores of `BESIDE`
    device_hours: Floats = field(default_factory=lambda: np.array([np.nan]))  # (seeds,) or unknown


@dataclass(frozen=True)
class Finding:
    """Compare one variant with its baseline over the seeds."""

    variant: str
    baseline: str
    control: bool
    metric: Metric
    differences: Floats  # (seeds,), of the test metric in its unit
    mean: float
    interval: tuple[float, float] | None  # 95%, of the mean difference; None from one seed
    margin: float
    diverged: int = 0  # runs of both, which the differences leave out

    @property
    def alike(self) -> bool:
        """Return whether there are two seeds with the same difference.

        Their interval has no width, but two numbers say nothing of the spread of others.
        """
        return len(self.differences) == 2 and bool(np.ptp(self.differences) < ALIKE)

    @property
    def verdict(self) -> str:
        """Return "same", "different" or "undecided".

        It is "same" if the interval is within the margin, "different" if the interval is outside,
        else "undecided". If a run has diverged it is "undecided": the other runs do not represent
        all seeds. So it is if two seeds are `alike`.
        """
        if self.interval is None or self.diverged or self.alike:
            return "undecided"
        low, high = self.interval
        if -self.margin <= low and high <= self.margin:
            return "same"
        if high < -self.margin or low > self.margin:
            return "different"
        return "undecided"

    @property
    def as_claimed(self) -> bool | None:
        """Return whether the verdict agrees with the claim; None if undecided."""
        if self.verdict == "undecided":
            return None
        return (self.verdict == "different") == self.control


def metric_in(records: Sequence[Record], comparison: Comparison | None) -> Metric:
    """Return the metric that a report of these runs shows.

    Raises:
        Mistake: if a run does not score it.
    """
    scored = [(run, line) for run in records for line in run.evaluations[-1:]]
    first = scores_in(scored[0][1]) if scored else []
    metric = metric_of(comparison, first)
    for run, line in scored:
        if metric.name not in line:
            raise Mistake(
                f"{run.directory} does not score {metric.name}, which others do: report each "
                "directory by itself"
            )
    if any(run.validated for run in records):
        metric = replace(metric, over_run="validation")
    return metric


def by_variant(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Group records as variant → its runs, in the order of the records."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.variant, []).append(record)
    return runs


def summarize(records: Sequence[Record], comparison: Comparison | None = None) -> list[Summary]:
    """Summarize each variant's finished runs, in the order of the records.

    Args:
        records: of runs.
        comparison: epochs, updates and seconds are counted up to its target.

    Raises:
        Mistake: if runs of one variant differ in more than their seed.
    """
    summaries, metric = [], metric_in(records, comparison)
    for variant, found in by_variant(records).items():
        ended = [run for run in found if run.finished or run.diverged]
        runs = [run for run in ended if run.finished]
        if not runs:
            continue
        _check_alike(variant, found)
        training = np.array([run.training_seconds for run in runs])
        updates = np.array([run.updates for run in runs])
        summaries.append(
            Summary(
                variant=variant,
                of_file=runs[0].of_file,
                cell=runs[0].cell,
                plan=runs[0].plan,
                seeds=tuple(run.seed for run in runs),
                updates=updates,
                training_loss=np.array([run.training[-1]["loss"] for run in runs]),
                metric=metric,
                test_metric=np.array([metric.of(run.final) for run in runs]),
                training_seconds=training,
                updates_per_second=updates / training,
                examples_per_second=np.array([run.trained for run in runs]) / training,
                input_wait=np.array([run.input_wait for run in runs]),
                reached=np.array([run.reached(comparison) for run in ended]),
                diverged=len(ended) - len(runs),
                beside={
                    name: np.array([run.final[name] for run in runs])
                    for name in BESIDE
                    if name != metric.name and all(name in run.final for run in runs)
                },
                device_hours=np.concatenate([run.device_hours(run.lines[-1:]) for run in runs]),
            )
        )
    return summaries


def _check_alike(variant: str, runs: Sequence[Record]) -> None:
    first = runs[0]
    for run in runs[1:]:
        found = differences_in(first.described, {**run.described, "seed": first.seed})
        if found or run.plan.begun != first.plan.begun:
            raise Mistake(
                f"{first.directory} and {run.directory} are both called {variant}, but differ: "
                f"{'; '.join(found) or 'in their schedules'}. Report each directory by itself"
            )


def find(summaries: Sequence[Summary], comparison: Comparison | None) -> list[Finding]:
    """Test each claim whose baseline has finished runs."""
    if comparison is None:
        return []
    by_name = {summary.variant: summary for summary in summaries}
    return [
        _finding(by_name[name], by_name[claim.baseline], name in claim.different, comparison.margin)
        for claim in comparison.claims
        for name in (*claim.same, *claim.different)
        if {name, claim.baseline} <= by_name.keys()
        and set(by_name[name].seeds) & set(by_name[claim.baseline].seeds)
    ]


def lost(records: Sequence[Record], comparison: Comparison | None) -> list[str]:
    """Return the claims' variants that have diverged runs and no finished run."""
    claimed = comparison.variants if comparison else ()
    return [
        variant
        for variant, runs in by_variant(records).items()
        if variant in claimed
        and any(run.diverged for run in runs)
        and not any(run.finished for run in runs)
    ]


def awaited(records: Sequence[Record], comparison: Comparison | None) -> list[str]:
    """Return the claims' variants that have no run yet, or one that has not ended."""
    runs = by_variant(records)
    claims = comparison.claims if comparison else ()
    return [
        variant
        for variant in dict.fromkeys(name for claim in claims for name in claim.variants)
        if not all(run.finished or run.diverged for run in runs.get(variant, ()))
        or variant not in runs
    ]


def saved_updates(summaries: Sequence[Summary], comparison: Comparison | None) -> dict[str, float]:
    """Return variant → share of its baseline's updates that it saves."""
    updates = {summary.variant: summary.updates.mean() for summary in summaries}
    return {
        name: 1 - updates[name] / updates[claim.baseline]
        for claim in (comparison.claims if comparison else ())
        for name in (*claim.same, *claim.different)
        if {name, claim.baseline} <= updates.keys()
    }


def interval_of(differences: Floats) -> tuple[float, float]:
    """Return Student's 95% t interval of the mean of differences, (seeds,), at least two."""
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    mean = differences.mean()
    return float(mean - half), float(mean + half)


def _finding(summary: Summary, baseline: Summary, control: bool, margin: float) -> Finding:
    """Compute the difference in the final metric, paired by seed, with Student's t interval."""
    paired = [seed for seed in summary.seeds if seed in baseline.seeds]
    differences = np.array(
        [
            summary.test_metric[summary.seeds.index(seed)]
            - baseline.test_metric[baseline.seeds.index(seed)]
            for seed in paired
        ]
    )
    return Finding(
        variant=summary.variant,
        baseline=baseline.variant,
        metric=summary.metric,
        control=control,
        differences=differences,
        mean=float(differences.mean()),
        interval=interval_of(differences) if len(paired) > 1 else None,
        margin=margin,
        diverged=summary.diverged + baseline.diverged,
    )
