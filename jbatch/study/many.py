"""Several experiments of one file over several seeds: what `compare` and `sweep` share."""

import dataclasses
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jbatch.cli.arguments import RunsCode, flag, leading, print_help, split_options, wants_help
from jbatch.cli.report import in_order, record_of
from jbatch.cli.train import run_directory
from jbatch.devices import spmd
from jbatch.distributed.preemption import check_asked, saved_below
from jbatch.errors import Mistake, meant, whole
from jbatch.experiment.comparison import Comparison
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.load import ExperimentFile, load_experiment_file
from jbatch.experiment.overrides import field_names, override
from jbatch.messages import show, tell
from jbatch.plan.plan import Plan
from jbatch.printable import printable
from jbatch.report.runs import Record
from jbatch.run.check import check
from jbatch.run.directory import Origin, differences, holds
from jbatch.run.libraries import prepare_libraries

MOST_CELLS = 10_000  # of a grid


@dataclass(frozen=True)
class Options(RunsCode):
    """Of a verb that trains several experiments."""

    seeds: tuple[int, ...] | None = None
    """A run of every variant for each, as 0 1 2, in place of --seed; None for the file's own."""
    out: Path | None = None
    """Directory of the report and the runs; None for one under runs/ that FILE names."""


class Asked(NamedTuple):
    """What a command line asks for."""

    file: ExperimentFile
    options: Options
    origins: dict[Origin, Experiment]
    seeds: tuple[int, ...]


def read(
    options: type[Options],
    arguments: Sequence[str],
    usage: str,
    grid_of: Callable[[Options], Sequence[str]] = lambda _: (),
) -> Asked:
    """Read `FILE [VARIANT …] [options] [fields]`.

    Args:
        options: of the verb.
        arguments: of the command line, without the verb.
        usage: how the verb is called.
        grid_of: the fields with values that the verb's options may sweep.
    """
    names, rest = leading(arguments)
    if not names:
        if wants_help(rest):
            print_help(options, usage)
        raise Mistake(f"give an experiment file first: {usage} (--help says more)")
    verb = usage.partition(" FILE")[0]
    file = load_experiment_file(Path(names[0]), "--trust" in rest)
    variants = names[1:] or list(file.variants)
    if wants_help(rest):
        print_help(options, f"{verb} {' '.join(names)}", file.variant(variants[0]))
    if len(set(variants)) != len(variants):
        raise Mistake(f"{' '.join(variants)}: name each variant once")
    known, overrides = split_options(options, rest)
    grid = grid_of(known)
    _check_flags(grid, overrides)
    origins, points = {}, list(cells(grid))
    for name in variants:
        for text in grid:
            _check_field(text, file.variant(name))
        for cell, changes in points:
            origin = Origin(
                file.code, name, (*overrides, *changes), cell, str(file.path.absolute())
            )
            called = f"{verb} {file.path} {name}"
            origins[origin] = override(file.variant(name), origin.overrides, called)
    stated = file.comparison or Comparison(claims=())
    seeds = stated.seeds if known.seeds is None else known.seeds
    for seed in seeds:
        whole("--seeds", seed, least=0, most=2**32 - 1)
    if not seeds or len(set(seeds)) != len(seeds):
        raise Mistake(f"--seeds {' '.join(map(str, seeds))}: give each seed once, at least one")
    return Asked(file, known, origins, seeds)


def cells(grid: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each cell of a grid: (what it is called, what the command line would say of it).

    >>> list(cells(["plan.batch-size=8,16"]))[1]
    (('plan.batch-size 16',), ('--plan.batch-size', '16'))
    """
    axes = []
    for text in grid:
        field, equals, joined = text.partition("=")
        values = [" ".join(value.split()) for value in joined.split(",")]
        if not (re.fullmatch(r"\w[\w.-]*", field) and equals and all(values)):
            raise Mistake(
                f"--grid {_quoted(text)}: give FIELD=VALUE,VALUE…, as plan.batch-size=32,128"
            )
        if len({_number(value) for value in values}) < len(values):
            raise Mistake(f"--grid {_quoted(text)}: give each value once")
        axes.append([(field.replace("_", "-"), value) for value in values])
    if math.prod(map(len, axes)) > MOST_CELLS:
        raise Mistake(
            f"--grid {_quoted(' '.join(grid))}: that is over {MOST_CELLS:,} points: give fewer"
        )
    if len({axis[0][0] for axis in axes}) < len(axes):
        raise Mistake(
            f"--grid {_quoted(' '.join(grid))}: give each field once, with all its values"
        )
    for cell in itertools.product(*axes):
        names = tuple(f"{field} {value}" for field, value in cell)
        yield names, tuple(itertools.chain.from_iterable(itertools.starmap(_tokens, cell)))


def _check_flags(grid: Sequence[str], overrides: Sequence[str]) -> None:
    swept = {flag(f"--{text}") for text in grid}
    given = {flag(text) for text in overrides}
    if "--seed" in swept | given:
        raise Mistake("seed is of one run: give --seeds, as in --seeds 0 1 2")
    if both := sorted(swept & given):
        raise Mistake(f"{both[0]} is given by itself and in --grid: give it once")


def _check_field(text: str, experiment: Experiment) -> None:
    """See that a grid's field is one of the experiment's, or a Mistake that names the nearest."""
    field = text.partition("=")[0].replace("_", "-")
    known = list(field_names(experiment))
    if field not in known:
        raise Mistake(
            f"--grid {_quoted(text)}: the experiment has no field {field}{meant(field, known)} "
            "(FILE VARIANT --help lists them; the schedule, and which network, optimizer or data "
            "it is, stand in the file)"
        )


def _quoted(text: str) -> str:
    return printable(text, "")[:200]


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _tokens(field: str, value: str) -> tuple[str, ...]:
    if value == "True":
        return (f"--{field}",)
    if value == "False":
        group, dot, name = field.rpartition(".")
        return (f"--{group}{dot}no-{name}",)
    return f"--{field}", *value.split()


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


def train(asked: Asked, out: Path) -> None:
    """Train what is missing, one run after another; then print the table and write the report.

    What one run has compiled, those after it find: they share it if they differ in seed or rates.
    A run that diverges is said and left; the others go on.

    Args:
        asked: what the command line asks for.
        out: directory of the report and the runs, unless the command line says another.
    """
    from jbatch.report.page import write_report
    from jbatch.report.text import comparison_text

    prepare_libraries()
    begun = time.perf_counter()
    out = asked.options.out or out
    if (out / "run.json").exists():
        raise Mistake(f"{out} is the directory of one run: give --out another")
    saved_below(out)
    runs = _planned(asked, out)
    records = [_recorded(run, f"run {number} of {len(runs)}") for number, run in enumerate(runs, 1)]
    check_asked()
    records = in_order(asked.file, records)
    show(comparison_text(records, asked.file.comparison))
    title = out.absolute().name
    page = write_report(out, title, asked.file.docstring, records, asked.file.comparison)
    show(f"\n{time.perf_counter() - begun:.0f} s in all. Report: {page}")
    others = {path.parent for path in out.glob("**/run.json")} - {run.directory for run in runs}
    if others:
        show(f"Other runs there, not shown: {len(others)}; `jbatch report {out}` shows all.")


def _planned(asked: Asked, out: Path) -> list[Planned]:
    """Seed by seed, all that is asked for; Mistake for what can be seen to be wrong with any."""
    devices = len(spmd.all_devices())
    plans = {
        cell: _checked_plan(cell, experiment, devices) for cell, experiment in asked.origins.items()
    }
    runs = []
    for seed in asked.seeds:
        for cell, experiment in asked.origins.items():
            origin = dataclasses.replace(cell, overrides=(*cell.overrides, "--seed", str(seed)))
            directory = run_directory(out, origin.name, seed)
            experiment = dataclasses.replace(experiment, seed=seed)
            runs.append(Planned(directory, origin, experiment, plans[cell]))
    if len({run.directory for run in runs}) < len(runs):
        raise Mistake("two of the variants would have one directory: give them other names")
    for directory, _, experiment, plan in runs:
        if (directory / "run.json").exists() and not holds(directory, experiment, plan):
            differs = "; ".join(differences(directory, experiment)) or "its schedule"
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
