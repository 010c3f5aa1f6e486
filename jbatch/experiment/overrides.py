"""Override an experiment's fields with command-line arguments."""

import dataclasses
import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import tyro

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.messages import cleaned_stderr

FIELDS = (tyro.conf.AvoidSubcommands,)  # keep --no-… for every boolean field


def override(experiment: Experiment, overrides: Sequence[str], usage: str) -> Experiment:
    """Apply the command line's overrides to an experiment; exit with 2 on a mistake."""
    try:
        with cleaned_stderr():
            return tyro.cli(
                Experiment, args=overrides, default=experiment, prog=usage, config=FIELDS
            )
    except (ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, Mistake):
            raise
        # Such as an int of too many digits.
        raise Mistake(f"{' '.join(overrides)[:200]}: {error}") from error


def override_again(experiment: Experiment, overrides: Sequence[str], directory: Path) -> Experiment:
    """Apply a run's stored overrides; raise Mistake if they do not fit the experiment."""
    try:
        with redirect_stderr(io.StringIO()):  # the Mistake below replaces tyro's message
            return tyro.cli(Experiment, args=overrides, default=experiment, config=FIELDS)
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
