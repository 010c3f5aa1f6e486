"""Making a run's experiment again from what its directory holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.load import ExperimentFile, experiment_file, read_code
from jbatch.experiment.origin import Origin
from jbatch.experiment.overrides import override, override_again
from jbatch.files import expanded
from jbatch.run import provenance
from jbatch.run.directory import read_run, read_run_if_there, text_in, what_is_sealed


def check_own(file: Path, code: str, run: Mapping) -> None:
    """See that an experiment file of a run directory was put there by this person.

    Args:
        file: that is to be run.
        code: in it.
        run: what its directory says, as it was read once.

    Raises:
        Mistake: if not.
    """
    origin = run["origin"] or {"variant": "", "overrides": []}
    if not provenance.sealed(what_is_sealed(code, origin), origin.get("seal")):
        raise Mistake(
            f"{file} is code that you, on this machine, have not put there: look at it, and give "
            "--trust to run it"
        )


def read_origin(directory: Path, trusted: bool) -> Origin:
    """Where the run's experiment came from, its file as it was then.

    Raises:
        Mistake: if it is not there, or another person's and not `trusted`.
    """
    run, file = read_run(directory), directory / "experiment.py"
    if run["origin"] is None or not file.exists():
        raise Mistake(
            f"{directory} has no experiment.py to make its experiment from: only runs of "
            "`jbatch train`, `compare` and `sweep` can be read again"
        )
    origin, code = run["origin"], text_in(file)
    if not trusted:
        check_own(file, code, run)
    if "\0" in (origin.get("file") or ""):
        raise Mistake(f"{directory}/run.json is damaged (its file's name is none): restore it")
    texts = (tuple(origin.get(name, ())) for name in ("overrides", "cell"))
    return Origin(code, origin["variant"], *texts, file=origin.get("file"))


def remake(
    directory: Path, overrides: Sequence[str] = (), trusted: bool = False
) -> tuple[Origin, ExperimentFile, Experiment]:
    """The experiment of a run directory, made from what it holds, and changed by `overrides`.

    Runs the directory's experiment file: if it is from somewhere else, only if it is `trusted`.
    """
    directory = expanded(directory)
    origin = read_origin(directory, trusted)
    file = experiment_file(directory / "experiment.py", origin.code, origin.file)
    experiment = override_again(file.variant(origin.variant), origin.overrides, directory)
    if overrides:
        experiment = override(experiment, overrides, f"jbatch: {directory}")
    return origin, file, experiment


def load_experiment_file(path: Path, trusted: bool = False) -> ExperimentFile:
    """Run an experiment file and take its values; of a run directory only a file of one's own.

    Args:
        path: of the file.
        trusted: run it even if it lies in a run directory that came from somewhere else.

    Raises:
        Mistake: if the file is missing, not trusted, fails, or holds no experiments.
    """
    path = expanded(path)
    run = read_run_if_there(path.parent)
    code = read_code(path, declared=run is None)  # a copy in a run directory is UTF-8
    if run is not None and not trusted:
        check_own(path, code, run)
    return experiment_file(path, code)
