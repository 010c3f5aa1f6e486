"""`jbatch train`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import file_and_variant
from jbatch.cli.libraries import prepare_libraries
from jbatch.run_directory import Origin

USAGE = "jbatch train FILE VARIANT"


@dataclass(frozen=True)
class Options:
    """Train one variant of an experiment; the same command again goes on where it stopped.

    FILE VARIANT --help lists the experiment's fields; each can be changed.

    For example: jbatch train experiments/digits.py increasing --run-dir runs/digits
    """

    run_dir: Path | None = None
    """The run's directory; None for runs/FILE/VARIANT/seed-SEED."""


def run_directory(out: Path, variant: str, seed: int) -> Path:
    """Where a run goes among others of its experiment."""
    return out / variant / f"seed-{seed}"


def run(arguments: Sequence[str]) -> None:
    """Train."""
    file, variant, options, overrides, experiment = file_and_variant(Options, arguments, USAGE)
    origin = Origin(file.path, variant, overrides)
    directory = options.run_dir or run_directory(
        Path("runs") / file.path.stem, variant, experiment.seed
    )

    from jbatch.progress import progress
    from jbatch.report.account import account
    from jbatch.train import fit

    prepare_libraries()
    run = fit(experiment, directory, origin=origin, progress=progress(), label=variant)
    print(account(run, directory))
