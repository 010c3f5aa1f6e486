"""Rebuild a run's experiment from its directory."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.load import ExperimentFile, experiment_file, read_code
from jbatch.experiment.origin import Origin
from jbatch.experiment.overrides import override, override_again
from jbatch.files import expanded
from jbatch.run import provenance
from jbatch.run.directory import read_run, read_run_if_there, what_is_sealed
from jbatch.run.kept import CODE, read_modules, text_in


def check_own(file: Path, code: str, run: Mapping[str, Any], modules: Mapping[str, str]) -> None:
    """Check that this user created the code of a run directory.

    Args:
        file: the experiment file.
        code: its text.
        run: the contents of its directory's run.json, read once.
        modules: the texts of the modules that it imports.

    Raises:
        Mistake: if not.
    """
    origin = run["origin"] or {"variant": "", "overrides": []}
    if not provenance.sealed(what_is_sealed(code, origin, modules), origin.get("seal")):
        also = f", and {file.parent / CODE}" if modules else ""
        raise Mistake(
            f"refusing to run {file}: it was not created by you on this machine. Read it{also}, "
            "then pass --trust"
        )


def made_in_python(directory: Path) -> bool:
    """Return whether a run has no experiment file; raise Mistake if it is no run directory."""
    origin, file = read_run(directory)["origin"] or {}, directory / "experiment.py"
    return origin.get("file") is None and not (file.exists() or file.is_symlink())


def read_origin(directory: Path, trusted: bool) -> Origin:
    """Return where the run's experiment came from, with its code at that time.

    Raises:
        Mistake: if the file is missing, or another user created it and it is not `trusted`.
    """
    run, file = read_run(directory), directory / "experiment.py"
    if run["origin"] is None or not file.exists():
        raise Mistake(
            f"{directory} has no experiment.py, so jbatch cannot rebuild its experiment: give a "
            "run of `jbatch train`, `compare` or `sweep`"
        )
    origin, code, modules = run["origin"], text_in(file), read_modules(directory)
    if not trusted:
        check_own(file, code, run, modules)
    if "\0" in (origin.get("file") or ""):
        raise Mistake(f"{directory}/run.json is damaged (its file name has a NUL): restore it")
    overrides, cell = (tuple(origin.get(name, ())) for name in ("overrides", "cell"))
    return Origin(origin["variant"], overrides, cell, code, origin.get("file"), modules)


def remake(
    directory: Path,
    overrides: Sequence[str] = (),
    trusted: bool = False,
    also: Iterable[str] = (),
) -> tuple[Origin, ExperimentFile, Experiment]:
    """Rebuild the experiment of a run directory, then apply `overrides`, those of `jbatch eval`.

    This runs the directory's experiment file. A file that another user created must be `trusted`.
    `also` holds flags of the verb, for messages.
    """
    directory = expanded(directory)
    origin = read_origin(directory, trusted)
    assert origin.code is not None
    file = experiment_file(directory / "experiment.py", origin.code, origin.file, origin.modules)
    experiment = override_again(file.variant(origin.variant), origin.overrides, directory)
    if overrides:
        experiment = override(experiment, overrides, f"jbatch eval {directory}", also)
    return origin, file, experiment


def load_experiment_file(path: Path, trusted: bool = False) -> ExperimentFile:
    """Run an experiment file and return its values; refuse another user's run directory.

    Args:
        path: of the file.
        trusted: run it even if it is in a run directory that another user created.

    Raises:
        Mistake: if the file is missing, not trusted, fails, or holds no experiments.
    """
    path = expanded(path)
    run = read_run_if_there(path.parent)
    code = read_code(path, declared=run is None)  # a copy in a run directory is UTF-8
    if run is None:
        return experiment_file(path, code)
    modules = read_modules(path.parent)
    if not trusted:
        check_own(path, code, run, modules)
    return experiment_file(path, code, (run["origin"] or {}).get("file"), modules)
