"""Train several experiments over several seeds; write their table and report."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jbatch.devices import cores, meshes
from jbatch.distributed.preemption import check_asked, saved_below
from jbatch.errors import Mistake, wholes
from jbatch.experiment.comparison import Comparison, metric_of
from jbatch.experiment.described import describe
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.origin import Origin
from jbatch.experiment.stated import Stated
from jbatch.messages import show, tell
from jbatch.plan.plan import Plan
from jbatch.report.read import in_order, read_record
from jbatch.report.runs import Record
from jbatch.run.below import runs_below
from jbatch.run.build import counted
from jbatch.run.check import check, warnings
from jbatch.run.directory import check_digests, differences, directory_of, holds
from jbatch.run.job import resolve
from jbatch.run.kept import read_modules, text_in
from jbatch.run.libraries import prepare_libraries
from jbatch.run.metrics import scores_in, scores_of, scores_text
from jbatch.trackers.named import trackers
from jbatch.trackers.tracker import Tracker


class Study(NamedTuple):
    """Hold the experiments to train, and over which seeds."""

    stated: Stated
    experiments: dict[Origin, Experiment]
    seeds: tuple[int, ...]


def seeds_of(stated: Stated, given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the seeds that are given, or those of the comparison; each once."""
    given = (stated.comparison or Comparison()).seeds if given is None else given
    seeds = tuple(wholes("seeds", given, least=0, most=2**32 - 1))
    if not seeds or len(set(seeds)) != len(seeds):
        said = " ".join(map(str, seeds)) or "has none"
        raise Mistake(f"seeds {said}: give at least one seed, each once")
    return seeds


class Planned(NamedTuple):
    """Hold one run of a study, trained or not."""

    directory: Path
    origin: Origin
    experiment: Experiment
    plan: Plan

    @property
    def called(self) -> str:
        """Name the run in messages."""
        return f"{self.origin.name} seed {self.experiment.seed}"


def train(study: Study, out: Path, log: Sequence[Tracker | str] = ()) -> list[Record]:
    """Train the missing runs one after another, then print the table and write the report.

    Runs that differ only in seed or learning rate share their compiled programs. If a run diverges,
    jbatch says so and trains the next.

    Args:
        study: the experiments and seeds.
        out: directory of the report and the runs.
        log: trackers of the runs, see `fit`.

    Returns:
        The runs read back, in the order of the file's variants.
    """
    from jbatch.report.page import write_report
    from jbatch.report.text import comparison_text

    prepare_libraries()
    followers = trackers(log)
    begun = time.perf_counter()
    if (out / "run.json").exists():
        raise Mistake(f"{out} is a run directory: give another folder (--out)")
    saved_below(out)
    runs = _planned(study, out)
    warned: set[tuple[str, str]] = set()
    records = [
        _recorded(run, f"run {number} of {len(runs)}", study.stated.comparison, warned, followers)
        for number, run in enumerate(runs, 1)
    ]
    check_asked()
    stated = study.stated
    records = in_order(records, list(stated.variants))
    show(comparison_text(records, stated.comparison))
    title = out.absolute().name
    page = write_report(out, title, stated, records)
    show(f"\n{time.perf_counter() - begun:.0f} s in total. Report: {page}")
    others = {*runs_below(out)} - {run.directory for run in runs}
    if others:
        show(f"Not shown: {len(others)} other runs there; `jbatch report {out}` shows all runs.")
    return records


def _planned(study: Study, out: Path) -> list[Planned]:
    """List the runs of a study, seed by seed.

    Raises:
        Mistake: if an experiment cannot be trained, or a directory holds another run.
    """
    devices = cores.needed(meshes.all_devices())
    experiments = {cell: counted(experiment) for cell, experiment in study.experiments.items()}
    plans = {
        cell: _checked_plan(cell, experiment, devices) for cell, experiment in experiments.items()
    }
    runs = []
    for seed in study.seeds:
        for cell, experiment in experiments.items():
            origin = dataclasses.replace(cell, overrides=(*cell.overrides, "--seed", str(seed)))
            directory = directory_of(out, origin.name, seed)
            experiment = dataclasses.replace(experiment, seed=seed)
            runs.append(Planned(directory, origin, experiment, plans[cell]))
    if len({run.directory for run in runs}) < len(runs):
        raise Mistake("two variants would share a run directory: rename one of them")
    for directory, _, experiment, plan in runs:
        if (directory / "run.json").exists() and not holds(directory, describe(experiment), plan):
            differs = "; ".join(differences(directory, describe(experiment))) or "its schedule"
            raise Mistake(
                f"{directory} holds a different run ({differs}): give another folder (--out), or "
                "remove that run"
            )
    return runs


def _checked_plan(origin: Origin, experiment: Experiment, devices: int) -> Plan:
    """Make an experiment's plan, and raise a Mistake that names it if it cannot be trained."""
    try:
        plan = experiment.make_plan()
        check(experiment, plan, devices)
    except Mistake as mistake:
        raise Mistake(f"{origin.name}: {mistake}") from mistake
    return plan


def _recorded(
    run: Planned,
    of: str,
    comparison: Comparison | None,
    warned: set[tuple[str, str]],
    log: Sequence[Tracker],
) -> Record:
    """Train a run unless it is finished or has diverged, and read it back.

    It gives a warning once for each plan: `warned` holds (digest of a plan, warning), and grows.
    """
    from jbatch.run.log import Diverged
    from jbatch.run.loop import fit
    from jbatch.run.progress import progress

    directory, origin, experiment, plan = run
    check_asked()
    before = _over(run)
    if before:
        _check_code(run)
    else:
        shown, label = progress(seconds_between=30), f"{run.called}, {of}"
        try:
            here = {(plan.digest, text) for text in (*plan.warnings, *warnings(experiment, plan))}
            given = {text for _, text in here & warned}
            warned |= here
            on = [partial(_check_scored, comparison)]
            fit(
                experiment,
                directory,
                origin=origin,
                progress=shown,
                label=label,
                on=on,
                log=log,
                warned=given,
            )
        except Diverged as diverged:
            tell(f"jbatch: {run.called}: {diverged}")
    record = read_record(directory)
    outcome = f"diverged; remove {directory} to try again"
    if not record.diverged:
        outcome = (
            f"{record.updates:,} updates, test {scores_text(scores_of(record.final))}, "
            f"{record.lines[-1]['seconds']:.1f} s"
        )
    tell(f"{of}: {run.called}: {'already trained: ' * before}{outcome}")
    if experiment.measure_distance and not all("distance" in line for line in record.training):
        raise Mistake(f"{directory} was trained without distances: remove it to train it with them")
    return record


def _check_scored(comparison: Comparison | None, line: Mapping[str, Any]) -> None:
    """Raise Mistake at a run's first evaluation if it does not score what is compared."""
    if line["kind"] == "eval":
        metric_of(comparison, scores_in(line))


def _check_code(run: Planned) -> None:
    """Raise Mistake if a finished run was trained with other code, by its program and data."""
    directory, origin, experiment, _ = run
    if origin.code is not None:
        kept = text_in(directory / "experiment.py"), read_modules(directory)
        if kept == (origin.code, dict(origin.modules)):
            return
    check_digests(directory, resolve(experiment, meshes.all_devices(), origin).identity)


def _over(run: Planned) -> bool:
    """Return whether the run was trained before, to its end or until it diverged."""
    directory = run.directory
    if not (directory / "run.json").exists():  # `_planned` has checked that it is this run's
        return False
    record = read_record(directory)
    folder, end = directory / "checkpoints", record.plan.end
    saved = not folder.exists() or (folder / str(end)).is_dir()  # or the user removed them
    return record.diverged or (record.finished and saved)
