"""Reading what `compare` and `sweep` share: several variants of a file over several seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import RunsCode, flag, leading, print_help, split_options, wants_help
from jbatch.errors import Mistake, whole
from jbatch.experiment.comparison import Comparison
from jbatch.experiment.origin import Origin
from jbatch.experiment.overrides import override
from jbatch.run.reopen import load_experiment_file
from jbatch.study.grid import cells, check_field
from jbatch.study.many import Study


@dataclass(frozen=True)
class Options(RunsCode):
    """Of a verb that trains several experiments."""

    seeds: tuple[int, ...] | None = None
    """A run of every variant for each, as 0 1 2, in place of --seed; None for the file's own."""
    out: Path | None = None
    """Directory of the report and the runs; None for one under runs/ that FILE names."""


def read(
    options: type[Options],
    arguments: Sequence[str],
    usage: str,
    grid_of: Callable[[Options], Sequence[str]] = lambda _: (),
) -> tuple[Study, Options]:
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
            check_field(text, file.variant(name))
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
    return Study(file, origins, seeds), known


def _check_flags(grid: Sequence[str], overrides: Sequence[str]) -> None:
    swept = {flag(f"--{text}") for text in grid}
    given = {flag(text) for text in overrides}
    if "--seed" in swept | given:
        raise Mistake("seed is of one run: give --seeds, as in --seeds 0 1 2")
    if both := sorted(swept & given):
        raise Mistake(f"{both[0]} is given by itself and in --grid: give it once")
