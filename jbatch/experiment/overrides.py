"""Changing an experiment's fields by text, as a command line gives it."""

import dataclasses
import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path

import tyro

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.messages import cleaned_stderr

FIELDS = (tyro.conf.AvoidSubcommands,)  # each of an experiment's flags can be turned off too


def override(experiment: Experiment, overrides: Sequence[str], usage: str) -> Experiment:
    """The experiment with fields changed as the command line says; exits with 2 on a mistake."""
    try:
        with cleaned_stderr():
            return tyro.cli(
                Experiment, args=overrides, default=experiment, prog=usage, config=FIELDS
            )
    except (ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, Mistake):
            raise
        raise Mistake(f"{' '.join(overrides)[:200]}: {error}") from error  # of a number too long


def override_again(experiment: Experiment, overrides: Sequence[str], directory: Path) -> Experiment:
    """The same as a run directory says; Mistake if it does not fit the experiment any more."""
    try:
        with redirect_stderr(io.StringIO()):  # one message says it
            return tyro.cli(Experiment, args=overrides, default=experiment, config=FIELDS)
    except (SystemExit, ValueError, OverflowError, RecursionError) as error:
        raise Mistake(
            f"{directory}/run.json changes fields in a way that its experiment does not know (any "
            f"more): {' '.join(overrides)[:200]}; restore it, or use the version of jbatch that "
            "made it"
        ) from error


def field_names(value: object, within: str = "") -> Iterator[str]:
    """The fields of an experiment, as the command line calls them without its dashes."""
    for field in dataclasses.fields(value):
        name, part = within + field.name.replace("_", "-"), getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            yield from field_names(part, f"{name}.")
        elif not callable(part):
            yield name
