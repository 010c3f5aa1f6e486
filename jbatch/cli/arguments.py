"""Read a verb's arguments: positional names first, then its options and experiment fields."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from jbatch.cli.help import CONFIG, print_help, wants_help
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.flags import flags
from jbatch.experiment.load import ExperimentFile
from jbatch.experiment.overrides import override
from jbatch.experiment.parsed import parsed
from jbatch.files import expanded
from jbatch.run.reopen import load_experiment_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")
Log = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]  # trackers, one a flag


@dataclass(frozen=True, kw_only=True)
class RunsCode:
    """Hold the options of a verb that runs an experiment file."""

    trust: bool = False
    """Run the experiment file of a run directory that you did not create on this machine."""


def leading(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into (names before the first option, the rest)."""
    count = next(
        (index for index, text in enumerate(arguments) if text.startswith("-")), len(arguments)
    )
    return list(arguments[:count]), list(arguments[count:])


def read_options(options: type[Options], arguments: Sequence[str], usage: str) -> Options:
    """Read the options of a verb that takes no experiment fields; exit with 2 on a mistake."""
    refuse_twice(arguments)
    known: Options = parsed(options, arguments, usage, config=CONFIG)
    return _expanded(known)


def split_options(
    options: type[Options], arguments: Sequence[str]
) -> tuple[Options, tuple[str, ...]]:
    """Read a verb's own options; return (options, arguments left for the experiment's fields)."""
    refuse_twice(arguments)
    known, overrides = parsed(
        options, arguments, return_unknown_args=True, add_help=False, config=CONFIG
    )
    return _expanded(known), tuple(overrides)


def _expanded(options: Options) -> Options:
    """Expand ~ in paths: shells do not expand it after an =."""
    paths = {
        field.name: expanded(getattr(options, field.name))
        for field in dataclasses.fields(options)
        if isinstance(getattr(options, field.name), Path)
    }
    return dataclasses.replace(options, **paths)


def flag(text: str) -> str:
    """Return the flag of an argument; --optimizer.no-nesterov gives --optimizer.nesterov."""
    group, dot, name = text.partition("=")[0].replace("_", "-").rpartition(".")
    return f"{group}{dot}{name.removeprefix('no-')}" if dot else name.replace("--no-", "--", 1)


def refuse_twice(arguments: Sequence[str]) -> None:
    """Raise a Mistake if a flag is given twice or with its opposite: one would be ignored."""
    given: dict[str, str] = {}
    for place, text in enumerate(arguments):
        called = flag(text)
        if not text.startswith("--") or called == "--log":
            continue
        if called in given:
            raise Mistake(
                f"{given[called]} and {text} set the same field: give only one of them, once"
            )
        given[called] = text
        if called.endswith(".ramp"):
            _refuse_twice_in_ramp(arguments[place + 1 :])


def _refuse_twice_in_ramp(arguments: Sequence[str]) -> None:
    """Raise a Mistake if a ramp gives an epoch twice: a dict would keep only the last size."""
    values = list(itertools.takewhile(lambda text: not text.startswith("--"), arguments))
    try:
        epochs = [float(epoch) for epoch in values[::2]]
    except ValueError:  # tyro reports it
        return
    for epoch in epochs:
        if epochs.count(epoch) > 1:
            raise Mistake(
                f"--plan.ramp {' '.join(values)} gives epoch {epoch:g} twice: give each epoch once"
            )


def file_and_variant(
    options: type[Options], arguments: Sequence[str], usage: str
) -> tuple[ExperimentFile, str, Options, tuple[str, ...], Experiment]:
    """Read `FILE VARIANT [options] [fields]`: file, variant, options, overrides, experiment."""
    names, rest = leading(arguments)
    if not names and wants_help(rest):
        print_help(options, usage)
    if not names:
        raise Mistake(f"give an experiment file first: {usage} (--help lists the options)")
    file = load_experiment_file(Path(names[0]), "--trust" in rest)
    if len(names) == 1 and wants_help(rest):
        names.append(next(iter(file.variants)))
    if len(names) != 2:
        said = f"{len(names) - 1} variants given" if len(names) > 2 else "no variant given"
        raise Mistake(f"{said}: name one variant of {file.path}: {', '.join(file.variants)}")
    variant = file.variant(names[1])
    usage = f"{usage.partition(' FILE')[0]} {names[0]} {names[1]}"
    if wants_help(rest):
        print_help(options, usage, variant)
    known, overrides = split_options(options, rest)
    return file, names[1], known, overrides, override(variant, overrides, usage, flags(options))


def run_directory(
    arguments: Sequence[str], usage: str, options: type[Options]
) -> tuple[Path, Options]:
    """Read `DIR [options]`: directory and options."""
    names, rest = leading(arguments)
    if wants_help(rest):
        print_help(options, usage)
    return one_directory(names, usage), read_options(options, rest, usage)


def one_directory(names: Sequence[str], usage: str) -> Path:
    """Return the directory, which must be the only positional name."""
    if len(names) != 1:
        raise Mistake(f"give one directory first, not {len(names)}: {usage} (--help lists options)")
    return expanded(Path(names[0]))
