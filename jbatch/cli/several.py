"""Read the arguments that `compare` and `sweep` share: variants of a file, and seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jbatch.cli.arguments import Log, RunsCode, flag, leading, split_options
from jbatch.cli.help import print_help, wants_help
from jbatch.devices.cores import each_a_device
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.flags import flags
from jbatch.experiment.load import ExperimentFile
from jbatch.experiment.origin import Origin
from jbatch.experiment.overrides import override
from jbatch.run.reopen import load_experiment_file
from jbatch.study.grid import cells, check_field, quoted
from jbatch.study.many import Study, seeds_of


@dataclass(frozen=True)
class Options(RunsCode):
    """Hold the options of a verb that trains several experiments."""

    seeds: tuple[int, ...] | None = None
    """Train every variant once for each seed, for example 0 1 2. None: the seeds of the file."""
    out: Path | None = None
    """Directory of the report and the runs. None: a folder in runs/, named after FILE."""
    log: Log = ()
    """Follow the runs with a tracker too, for example wandb:project=x; give it once for each."""


Known = TypeVar("Known", bound=Options)


def read(
    options: type[Known],
    arguments: Sequence[str],
    usage: str,
    grid_of: Callable[[Known], Sequence[str]] = lambda _: (),
) -> tuple[Study, Known, ExperimentFile]:
    """Read `FILE [VARIANT …] [options] [fields]`.

    Args:
        options: class of the verb's options.
        arguments: of the command line, without the verb.
        usage: usage line of the verb, for messages.
        grid_of: returns the --grid texts (FIELD=VALUE,VALUE…) from the options.
    """
    names, rest = leading(arguments)
    if not names:
        if wants_help(rest):
            print_help(options, usage)
        raise Mistake(f"give an experiment file first: {usage} (--help lists the options)")
    verb = usage.partition(" FILE")[0]
    each_a_device()
    file = load_experiment_file(Path(names[0]), "--trust" in rest)
    variants = names[1:] or list(file.variants)
    if wants_help(rest):
        print_help(options, f"{verb} {' '.join(names)}", file.variant(variants[0]))
    if len(set(variants)) != len(variants):
        raise Mistake(f"{' '.join(variants)}: name each variant once")
    known, overrides = split_options(options, rest)
    grid = grid_of(known)
    _check_flags(grid, overrides)
    origins: dict[Origin, Experiment] = {}
    points = list(cells(grid))
    for name in variants:
        for text in grid:
            check_field(text, file.variant(name))
        made = {}
        for cell, changes in points:
            origin = file.origin(name, (*overrides, *changes), cell)
            called = f"{verb} {file.path} {name}"
            made[origin] = override(file.variant(name), origin.overrides, called, flags(options))
        # As text, because a ramp has no hash.
        if len({repr(experiment) for experiment in made.values()}) < len(points):
            raise Mistake(f"--grid {quoted(' '.join(grid))}: give each value once")
        origins |= made
    return Study(file.stated, origins, seeds_of(file.stated, known.seeds)), known, file


def _check_flags(grid: Sequence[str], overrides: Sequence[str]) -> None:
    swept = {flag(f"--{text}") for text in grid}
    given = {flag(text) for text in overrides}
    if "--seed" in swept | given:
        raise Mistake("--seed is for a single run: give --seeds instead, for example --seeds 0 1 2")
    if both := sorted(swept & given):
        raise Mistake(f"{both[0]} is given both as an option and in --grid: give it once")
