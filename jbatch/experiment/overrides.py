"""Override an experiment's fields with command-line arguments."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import tyro

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.parsed import parsed

FIELDS = (tyro.conf.AvoidSubcommands,)  # keep --no-… for every boolean field


def override(
    experiment: Experiment, overrides: Sequence[str], usage: str, also: Iterable[str] = ()
) -> Experiment:
    """Apply the command line's overrides to an experiment.

    Args:
        experiment: as its file says.
        overrides: flags and their values.
        usage: of the verb, for messages.
        also: the verb's own flags, for messages.

    Raises:
        Mistake: if they do not fit.
    """
    try:
        made: Experiment = parsed(
            Experiment, overrides, usage, also, default=experiment, config=FIELDS
        )
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
