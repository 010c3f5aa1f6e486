"""Reading a verb's arguments: positional names first, then its options and experiment fields."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.load import ExperimentFile
from jbatch.experiment.overrides import FIELDS, override
from jbatch.files import expanded
from jbatch.messages import cleaned_stderr
from jbatch.run.reopen import load_experiment_file

CONFIG = (*FIELDS, tyro.conf.FlagCreatePairsOff)
Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class RunsCode:
    """Options of a verb that runs an experiment file."""

    trust: bool = False
    """Run an experiment file that lies in a run directory from somewhere else."""


def leading(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(names before the first option, the rest)."""
    count = next(
        (index for index, text in enumerate(arguments) if text.startswith("-")), len(arguments)
    )
    return list(arguments[:count]), list(arguments[count:])


def read_options(options: type[Options], arguments: Sequence[str], usage: str) -> Options:
    """The options of a verb that takes no experiment fields; exits with 2 on a mistake."""
    refuse_twice(arguments)
    described = getdoc(options)
    with cleaned_stderr():
        known = tyro.cli(options, args=arguments, prog=usage, description=described, config=CONFIG)
    return _expanded(known)


def split_options(
    options: type[Options], arguments: Sequence[str]
) -> tuple[Options, tuple[str, ...]]:
    """A verb's own options, and what is left for the experiment's fields."""
    refuse_twice(arguments)
    with cleaned_stderr():
        known, overrides = tyro.cli(
            options, args=arguments, return_unknown_args=True, add_help=False, config=CONFIG
        )
    return _expanded(known), tuple(overrides)


def _expanded(options: Options) -> Options:
    """With ~ as a home in paths: shells leave it alone after an =."""
    paths = {
        field.name: expanded(getattr(options, field.name))
        for field in dataclasses.fields(options)
        if isinstance(getattr(options, field.name), Path)
    }
    return dataclasses.replace(options, **paths)


def flag(text: str) -> str:
    """The flag of an argument, as --optimizer.nesterov of --optimizer.no-nesterov too."""
    group, dot, name = text.partition("=")[0].replace("_", "-").rpartition(".")
    return f"{group}{dot}{name.removeprefix('no-')}" if dot else name.replace("--no-", "--", 1)


def refuse_twice(arguments: Sequence[str]) -> None:
    """See that no flag is given twice, nor with its opposite: one of the two would be ignored."""
    given: dict[str, str] = {}
    for place, text in enumerate(arguments):
        if not text.startswith("--"):
            continue
        called = flag(text)
        if called in given:
            raise Mistake(
                f"{given[called]} and {text} are given: one would be ignored; give one, once"
            )
        given[called] = text
        if called.endswith(".ramp"):
            _refuse_twice_in_ramp(arguments[place + 1 :])


def _refuse_twice_in_ramp(arguments: Sequence[str]) -> None:
    """See that no epoch is in a ramp twice: a dict would keep the last size."""
    values = list(itertools.takewhile(lambda text: not text.startswith("--"), arguments))
    try:
        epochs = [float(epoch) for epoch in values[::2]]
    except ValueError:  # which tyro says
        return
    for epoch in epochs:
        if epochs.count(epoch) > 1:
            raise Mistake(f"--plan.ramp {' '.join(values)}: epoch {epoch:g} is there twice")


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether -h or --help is among the arguments."""
    return "-h" in arguments or "--help" in arguments


def print_help(options: type, usage: str, value: object = None, name: str = "") -> None:
    """A verb's help: its options, and the fields of `value`, as an experiment, below `name`."""
    if value is None:
        read_options(options, ["--help"], usage)
    both = dataclasses.make_dataclass(
        "Both",
        [
            (
                "options",
                Annotated[options, tyro.conf.arg(name=""), tyro.conf.FlagCreatePairsOff],
            ),
            ("value", Annotated[type(value), tyro.conf.arg(name=name)]),
        ],
    )
    tyro.cli(
        both,
        args=["--help"],
        default=both(options(), value),
        prog=usage,
        description=getdoc(options),
        config=FIELDS,
    )


def file_and_variant(
    options: type[Options], arguments: Sequence[str], usage: str
) -> tuple[ExperimentFile, str, Options, tuple[str, ...], Experiment]:
    """Read `FILE VARIANT [options] [fields]`: file, variant, options, overrides, experiment."""
    names, rest = leading(arguments)
    if not names and wants_help(rest):
        print_help(options, usage)
    if not names:
        raise Mistake(f"give an experiment file first: {usage} (--help says more)")
    file = load_experiment_file(Path(names[0]), "--trust" in rest)
    if len(names) == 1 and wants_help(rest):
        names.append(next(iter(file.variants)))
    if len(names) != 2:
        said = f"{len(names) - 1} variants given" if len(names) > 2 else "no variant given"
        raise Mistake(f"{said}: name one of {file.path}'s: {', '.join(file.variants)}")
    variant = file.variant(names[1])
    usage = f"{usage.partition(' FILE')[0]} {names[0]} {names[1]}"
    if wants_help(rest):
        print_help(options, usage, variant)
    known, overrides = split_options(options, rest)
    return file, names[1], known, overrides, override(variant, overrides, usage)


def run_directory(arguments: Sequence[str], usage: str, options: type[Options]):
    """Read `DIR [options]`: directory and options."""
    names, rest = leading(arguments)
    if wants_help(rest):
        print_help(options, usage)
    return one_directory(names, usage), read_options(options, rest, usage)


def one_directory(names: Sequence[str], usage: str) -> Path:
    """The directory that is to stand first."""
    if len(names) != 1:
        raise Mistake(f"give one directory first, not {len(names)}: {usage} (--help says more)")
    return expanded(Path(names[0]))
