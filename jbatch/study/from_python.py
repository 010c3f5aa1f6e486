"""Compare and sweep experiments that are made in Python."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jbatch.errors import Mistake, meant, shown
from jbatch.experiment.comparison import Comparison
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.load import ExperimentFile, check_name
from jbatch.experiment.origin import Origin
from jbatch.experiment.stated import stated
from jbatch.files import expanded
from jbatch.report.runs import Record
from jbatch.study.many import Study, seeds_of, train
from jbatch.trackers.tracker import Tracker

Variants = Mapping[str, Experiment] | ExperimentFile


def compare(
    variants: Variants,
    out: Path | str,
    *,
    seeds: Sequence[int] | None = None,
    comparison: Comparison | None = None,
    about: str = "",
    log: Sequence[Tracker | str] = (),
) -> list[Record]:
    """Train several variants over several seeds; print one table and write one report.

    Runs that are finished are not trained again, so the same call resumes.

    Args:
        variants: name → experiment, or a loaded experiment file.
        out: folder of the report and the runs.
        seeds: train every variant once with each; None: those of the comparison.
        comparison: the claims to test; None: those of the file, or none.
        about: text at the top of the report; a file has its docstring there.
        log: trackers of the runs, see `jbatch.fit`.

    Returns:
        The runs, as `jbatch report` reads them, in the order of the variants, then by seed.

    Raises:
        Mistake: if an experiment cannot be trained, or a folder holds another run.

    Examples:
        >>> from dataclasses import replace
        >>> plan = jbatch.Coupling(lambda epoch: 0.1, num_epochs=2, batch_size=32)
        >>> experiment = jbatch.Experiment(plan, jbatch.Classify(jbatch.MLP()), jbatch.Digits())
        >>> growing = replace(experiment, plan=replace(plan, ramp={0: 32, 1: 64}))
        >>> variants = {"constant": experiment, "growing": growing}
        >>> runs = jbatch.compare(variants, "runs/both", seeds=(0,))
        schedule ...
        >>> [run.final["update"] for run in runs]
        [92, 69]
    """
    return sweep(variants, {}, out, seeds=seeds, comparison=comparison, about=about, log=log)


def sweep(
    variants: Variants | Experiment,
    grid: Mapping[str, Sequence[Any]],
    out: Path | str,
    *,
    seeds: Sequence[int] | None = None,
    comparison: Comparison | None = None,
    about: str = "",
    log: Sequence[Tracker | str] = (),
) -> list[Record]:
    """Train every variant at every combination of a grid's values; else like `compare`.

    Args:
        variants: name → experiment, a loaded experiment file, or one experiment.
        grid: field → values, such as {"optimizer.weight_decay": [0, 1e-4]}. Reports draw results
            against the last field, if its values are numbers.
        out: folder of the report and the runs.
        seeds: train every variant once with each; None: those of the comparison.
        comparison: the claims to test; None: those of the file, or none.
        about: text at the top of the report; a file has its docstring there.
        log: trackers of the runs, see `jbatch.fit`.

    Returns:
        The runs, as `jbatch report` reads them.

    Raises:
        Mistake: if an experiment cannot be trained, or a folder holds another run.

    Examples:
        >>> plan = jbatch.Coupling(lambda epoch: 0.1, num_epochs=2, batch_size=32)
        >>> experiment = jbatch.Experiment(plan, jbatch.Classify(jbatch.MLP()), jbatch.Digits())
        >>> runs = jbatch.sweep(experiment, {"plan.rate": [0.5, 1]}, "runs/rates", seeds=(0,))
        schedule ...
        >>> len(runs)
        2
    """
    out = expanded(Path(out))
    values = _checked_grid(grid)
    if isinstance(variants, Experiment):
        variants = {out.absolute().name: variants}
    if isinstance(variants, ExperimentFile):
        file: ExperimentFile | None = variants
        made, about = variants.variants, about or variants.docstring
        comparison = comparison or variants.comparison
    else:
        file, made = None, variants
    _check_variants(made, comparison)
    said = stated(about, made, comparison)
    experiments = {}
    for name, experiment in made.items():
        base = Origin(name) if file is None else file.origin(name)
        for cell, here in _cells(experiment, values):
            origin = dataclasses.replace(base, cell=cell, stated=said)
            if origin in experiments:
                raise Mistake(
                    f"{origin.name} is in the grid twice: give each value once, and functions "
                    "names of their own"
                )
            experiments[origin] = here
    return train(Study(said, experiments, seeds_of(said, seeds)), out, log)


def _check_variants(variants: Mapping[str, Experiment], comparison: Comparison | None) -> None:
    if not isinstance(variants, Mapping) or not variants:
        raise Mistake(f"variants is {shown(variants)}: give a dict of name → Experiment")
    for name, experiment in variants.items():
        check_name("variants", name)
        if not isinstance(experiment, Experiment):
            raise Mistake(f"variant {shown(name)} is {shown(experiment)}: give an Experiment")
    unknown = (comparison.variants if comparison else set()) - set(variants)
    if unknown:
        raise Mistake(
            f"comparison names {', '.join(sorted(unknown))}, which is not a variant: use some of "
            f"{', '.join(variants)}"
        )


def _checked_grid(grid: Mapping[str, Iterable[Any]]) -> dict[str, tuple[Any, ...]]:
    checked = {}
    for field, given in grid.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise Mistake(f"the grid has {shown(given)} for {field}: give a list of values")
        values = checked[field] = tuple(given)
        if not values:
            raise Mistake(f"the grid has no value of {field}: give one at least")
        if field == "seed":
            raise Mistake("the grid has seed: give seeds=(0, 1, 2) instead")
        for value in values:
            name = _named(value)
            if ", " in name:
                raise Mistake(
                    f"the grid has {shown(value)} for {field}, which makes no folder's name: name "
                    "such values as variants, {'name': experiment}"
                )
            check_name("the grid", f"{field} {name}")
    return checked


def _named(value: Any) -> str:
    """Return a grid's value as text: a function's name, numbers of a tuple one after another."""
    told = value if isinstance(value, tuple | list) else (value,)
    return " ".join(str(getattr(each, "__qualname__", each)) for each in told)


def _cells(
    experiment: Experiment, grid: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[tuple[str, ...], Experiment]]:
    """Yield (name, experiment) of each combination of a grid's values."""
    for values in itertools.product(*grid.values()):
        here, names = experiment, []
        for field, value in zip(grid, values, strict=True):
            here = _replaced(here, field, value, field)
            names.append(f"{field.replace('_', '-')} {_named(value)}")
        yield tuple(names), here


def _replaced(value: Any, field: str, new: Any, whole: str) -> Any:
    """Return a dataclass with another value of a field, such as "optimizer.weight_decay"."""
    name, _, rest = field.partition(".")
    known = [each.name for each in dataclasses.fields(value)]
    if name not in known:
        raise Mistake(
            f"the grid has {whole}, but {type(value).__name__} has no field {name}: give one of "
            f"{', '.join(known)}{meant(name, known)}"
        )
    if rest:
        part = getattr(value, name)
        if not dataclasses.is_dataclass(part):
            raise Mistake(f"the grid has {whole}, but {name} is {shown(part)}, which has no fields")
        new = _replaced(part, rest, new, whole)
    return dataclasses.replace(value, **{name: new})
