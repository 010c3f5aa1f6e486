"""Several experiments of one file over several seeds: what `compare` and `sweep` share."""

import dataclasses
import itertools
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jbatch.cli.arguments import RunsCode, leading, override, print_help, split_options, wants_help
from jbatch.cli.libraries import prepare_libraries
from jbatch.cli.report import in_order, record_of
from jbatch.cli.train import run_directory
from jbatch.errors import Mistake
from jbatch.experiment import Comparison, Experiment
from jbatch.experiment_file import ExperimentFile, load_experiment_file
from jbatch.run_directory import Origin, holds


@dataclass(frozen=True)
class Options(RunsCode):
    """Of a verb that trains several experiments."""

    seeds: tuple[int, ...] | None = None
    """One run of every variant for each; None for the file's own."""
    out: Path | None = None
    """Directory of the report and the runs; None for runs/FILE."""


class Asked(NamedTuple):
    """What a command line asks for."""

    file: ExperimentFile
    origins: dict[Origin, Experiment]
    seeds: tuple[int, ...]
    out: Path
    comparison: Comparison | None


def read(options: type[Options], arguments: Sequence[str], usage: str) -> Asked:
    """Read `FILE [VARIANT …] [options] [fields]`; a verb's options may have a grid of fields."""
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
    origins = {}
    for name in variants:
        for cell, changes in cells(getattr(known, "grid", ())):
            origin = Origin(file.code, name, (*overrides, *changes), cell)
            usage = f"{verb} {file.path} {name}"
            origins[origin] = override(file.variant(name), origin.overrides, usage)
            _planned(origin.name, origins[origin])
            if origins[origin].seed != file.variant(name).seed:
                raise Mistake("--seed is for one run: give --seeds, as in --seeds 3")
    stated = file.comparison or Comparison(claims=())
    seeds = stated.seeds if known.seeds is None else known.seeds
    if not seeds or len(set(seeds)) != len(seeds):
        raise Mistake(f"--seeds {' '.join(map(str, seeds))}: give each seed once, at least one")
    out = known.out or Path("runs") / file.path.stem
    if (out / "run.json").exists():
        raise Mistake(f"{out} is the directory of one run: give --out another")
    return Asked(file, origins, seeds, out, file.comparison)


def _planned(name: str, experiment: Experiment) -> None:
    """See that it can be planned, before the first of them is trained."""
    try:
        experiment.plan.plan()
    except Mistake as mistake:
        raise Mistake(f"{name}: {mistake}") from mistake


def cells(grid: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each cell of a grid: (what it is called, what the command line would say of it).

    >>> list(cells(["plan.batch-size=8,16"]))[1]
    (('plan.batch-size 16',), ('--plan.batch-size', '16'))
    """
    axes = []
    for text in grid:
        field, equals, values = text.partition("=")
        if not (re.fullmatch(r"[\w.-]+", field) and equals and all(values.split(","))):
            raise Mistake(f"--grid {text}: give FIELD=VALUE,VALUE…, as plan.batch-size=32,128")
        axes.append([(field, value) for value in dict.fromkeys(values.split(","))])
    if len({axis[0][0] for axis in axes}) < len(axes):
        raise Mistake(f"--grid {' '.join(grid)}: give each field once, with all its values")
    for cell in itertools.product(*axes):
        names = tuple(f"{field} {value}" for field, value in cell)
        yield names, tuple(itertools.chain.from_iterable(itertools.starmap(_tokens, cell)))


def _tokens(field: str, value: str) -> tuple[str, ...]:
    if value == "True":
        return (f"--{field}",)
    if value == "False":
        group, dot, name = field.rpartition(".")
        return (f"--{group}{dot}no-{name}",)
    return f"--{field}", *value.split()


def train(asked: Asked) -> None:
    """Train what is missing, one run after another; then print the table and write the report.

    What one run has compiled, those after it find: they share it if they differ in seed or rates.
    A run that diverges is said and left; the others go on.
    """
    from jbatch.progress import progress
    from jbatch.report.page import write_report
    from jbatch.report.text import comparison_text
    from jbatch.train import Diverged, fit

    prepare_libraries()
    records, begun = [], time.perf_counter()
    count = len(asked.seeds) * len(asked.origins)
    runs = [(seed, *made) for seed in asked.seeds for made in asked.origins.items()]
    for number, (seed, cell, experiment) in enumerate(runs, 1):
        experiment = dataclasses.replace(experiment, seed=seed)
        origin = dataclasses.replace(cell, overrides=(*cell.overrides, "--seed", str(seed)))
        directory = run_directory(asked.out, origin.name, seed)
        called = f"{origin.name} seed {seed}"
        of = f"run {number} of {count}"
        if not _over(directory, origin, experiment):
            try:
                fit(
                    experiment,
                    directory,
                    origin=origin,
                    progress=progress(seconds_between=30),
                    label=f"{called}, {of}",
                )
            except Diverged as diverged:
                print(f"jbatch: {called}: {diverged}", file=sys.stderr)
        record = record_of(directory, origin, experiment)
        records.append(record)
        outcome = "diverged"
        if not record.diverged:
            outcome = (
                f"{record.plan.num_updates:,} updates, test accuracy "
                f"{record.evaluations[-1]['accuracy']:.2%}, {record.lines[-1]['seconds']:.1f} s"
            )
        print(f"{of}: {called}: {outcome}", file=sys.stderr)
    records = in_order(asked.file, records)
    print(comparison_text(records, asked.comparison))
    title = asked.out.absolute().name
    page = write_report(asked.out, title, asked.file.docstring, records, asked.comparison)
    print(f"\n{time.perf_counter() - begun:.0f} s in all. Report: {page}")


def _over(directory: Path, origin: Origin, experiment: Experiment) -> bool:
    """Whether just this run was made before, to its end or until it diverged."""
    plan = experiment.plan.plan()
    if not holds(directory, experiment, plan):
        return False
    record = record_of(directory, origin, experiment)
    saved = directory / "checkpoints" / str(plan.end)
    return record.diverged or (record.finished and saved.is_dir())
