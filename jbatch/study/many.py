"""Many runs: several experiments of one file over several seeds, their table and their report."""

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple

from jbatch.devices import meshes
from jbatch.distributed.preemption import check_asked, saved_below
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.identity import describe
from jbatch.experiment.load import ExperimentFile
from jbatch.experiment.origin import Origin
from jbatch.messages import show, tell
from jbatch.plan.plan import Plan
from jbatch.report.read import in_order, record_of
from jbatch.report.runs import Record
from jbatch.run.check import check
from jbatch.run.directory import differences, holds, run_directory
from jbatch.run.libraries import prepare_libraries


class Study(NamedTuple):
    """What is to be trained."""

    file: ExperimentFile
    experiments: dict[Origin, Experiment]
    seeds: tuple[int, ...]


class Planned(NamedTuple):
    """A run that is to be there in the end."""

    directory: Path
    origin: Origin
    experiment: Experiment
    plan: Plan

    @property
    def called(self) -> str:
        """For a person."""
        return f"{self.origin.name} seed {self.experiment.seed}"


def train(study: Study, out: Path) -> list[Record]:
    """Train what is missing, one run after another; then print the table and write the report.

    What one run has compiled, those after it find: they share it if they differ in seed or rates.
    A run that diverges is said and left; the others go on.

    Args:
        study: what is to be trained.
        out: directory of the report and the runs.

    Returns:
        The runs read back, in the order of the file's variants.
    """
    from jbatch.report.page import write_report
    from jbatch.report.text import comparison_text

    prepare_libraries()
    begun = time.perf_counter()
    if (out / "run.json").exists():
        raise Mistake(f"{out} is the directory of one run: give --out another")
    saved_below(out)
    runs = _planned(study, out)
    records = [_recorded(run, f"run {number} of {len(runs)}") for number, run in enumerate(runs, 1)]
    check_asked()
    records = in_order(study.file, records)
    show(comparison_text(records, study.file.comparison))
    title = out.absolute().name
    page = write_report(out, title, study.file.docstring, records, study.file.comparison)
    show(f"\n{time.perf_counter() - begun:.0f} s in all. Report: {page}")
    others = {path.parent for path in out.glob("**/run.json")} - {run.directory for run in runs}
    if others:
        show(f"Other runs there, not shown: {len(others)}; `jbatch report {out}` shows all.")
    return records


def _planned(study: Study, out: Path) -> list[Planned]:
    """Seed by seed, all that is asked for; Mistake for what can be seen to be wrong with any."""
    devices = len(meshes.all_devices())
    plans = {
        cell: _checked_plan(cell, experiment, devices)
        for cell, experiment in study.experiments.items()
    }
    runs = []
    for seed in study.seeds:
        for cell, experiment in study.experiments.items():
            origin = dataclasses.replace(cell, overrides=(*cell.overrides, "--seed", str(seed)))
            directory = run_directory(out, origin.name, seed)
            experiment = dataclasses.replace(experiment, seed=seed)
            runs.append(Planned(directory, origin, experiment, plans[cell]))
    if len({run.directory for run in runs}) < len(runs):
        raise Mistake("two of the variants would have one directory: give them other names")
    for directory, _, experiment, plan in runs:
        if (directory / "run.json").exists() and not holds(directory, describe(experiment), plan):
            differs = "; ".join(differences(directory, describe(experiment))) or "its schedule"
            raise Mistake(
                f"{directory} holds another run than is asked for now, which differs in "
                f"{differs}: give --out another"
            )
    return runs


def _checked_plan(origin: Origin, experiment: Experiment, devices: int) -> Plan:
    """Its plan, after what can be seen to be wrong before anything is trained."""
    try:
        plan = experiment.plan.plan()
        check(experiment, plan, devices)
    except Mistake as mistake:
        raise Mistake(f"{origin.name}: {mistake}") from mistake
    return plan


def _recorded(run: Planned, of: str) -> Record:
    """A run read back, trained before if it is not there."""
    from jbatch.run.loop import Diverged, fit
    from jbatch.run.progress import progress

    directory, origin, experiment, _ = run
    check_asked()
    before = _over(run)
    if not before:
        shown, label = progress(seconds_between=30), f"{run.called}, {of}"
        try:
            fit(experiment, directory, origin=origin, progress=shown, label=label)
        except Diverged as diverged:
            tell(f"jbatch: {run.called}: {diverged}")
    record = record_of(directory, origin, experiment)
    outcome = f"diverged; remove {directory} to try again"
    if not record.diverged:
        outcome = (
            f"{record.updates:,} updates, test accuracy "
            f"{record.evaluations[-1]['accuracy']:.2%}, {record.lines[-1]['seconds']:.1f} s"
        )
    tell(f"{of}: {run.called}: {'made before: ' * before}{outcome}")
    if experiment.measure_distance and not all("distance" in line for line in record.training):
        raise Mistake(f"{directory} was made without distances: remove it to make it with them")
    return record


def _over(run: Planned) -> bool:
    """Whether it was made before, to its end or until it diverged."""
    directory, origin, experiment, plan = run
    if not (directory / "run.json").exists():  # which is this run's, as was seen before the first
        return False
    record = record_of(directory, origin, experiment)
    folder = directory / "checkpoints"
    saved = not folder.exists() or (folder / str(plan.end)).is_dir()  # or removed since
    return record.diverged or (record.finished and saved)
