"""Override an experiment's fields with command-line arguments."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.parsed import parsed

FIELDS = (tyro.conf.AvoidSubcommands,)  # keep --no-… for every boolean field


def override(experiment: Experiment, overrides: Sequence[str], usage: str) -> Experiment:
    """Apply the command line's overrides to an experiment; exit with 2 on a mistake."""
    try:
        made: Experiment = parsed(Experiment, overrides, usage, default=experiment, config=FIELDS)
        return made
    except (ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, Mistake):
            raise
        # Such as an int of too many digits.
        raise Mistake(f"{' '.join(overrides)[:200]}: {error}") from error


def override_again(experiment: Experiment, overrides: Sequence[str], directory: Path) -> Experiment:
    """Apply a run's stored overrides; raise Mistake if they do not fit the experiment."""
    try:
        made: Experiment = parsed(Experiment, overrides, default=experiment, config=FIELDS)
        return made
    except (SystemExit, ValueError, OverflowError, RecursionError) as error:
        raise Mistake(
            f"{directory}/run.json has overrides that do not fit its experiment: "
            f"{' '.join(overrides)[:200]}. Restore the file, or use the version of jbatch that "
            "made the run"
        ) from error


def field_names(value: Any, within: str = "") -> Iterator[str]:
    """List an experiment's fields as the command line names them, without leading dashes."""
    for field in dataclasses.fields(value):
        name, part = within + field.name.replace("_", "-"), getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            yield from field_names(part, f"{name}.")
        elif not callable(part):
            yield name
