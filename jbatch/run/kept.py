"""What a run keeps of its code, plan and file beside run.json, for reports and `eval`."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from jbatch.errors import Mistake
from jbatch.experiment.stated import Stated
from jbatch.files import read_whole, write_whole
from jbatch.json_lines import read_json
from jbatch.plan.plan import Plan
from jbatch.plan.saved import plan_from

CODE, STATED, PLAN = "code", "stated.json", "plan.npz"


def write_modules(directory: Path, modules: Mapping[str, str]) -> None:
    """Keep exactly these modules in a run directory: path → text."""
    shutil.rmtree(directory / CODE, ignore_errors=True)
    for relative, text in modules.items():
        path = directory / CODE / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def read_modules(directory: Path) -> dict[str, str]:
    """Return the modules that `write_modules` has written."""
    folder = directory / CODE
    found = sorted(path for path in folder.rglob("*.py") if path.is_file())
    return {path.relative_to(folder).as_posix(): text_in(path) for path in found}


def write_stated(directory: Path, stated: Stated) -> None:
    """Keep what the run's experiment file states."""
    write_whole(directory / STATED, msgspec.json.encode(stated))


def read_stated(directory: Path) -> Stated:
    """Return what the run's experiment file stated; raise Mistake if it is missing or damaged."""
    path = directory / STATED
    read = read_json(path, Stated, "restore it, or report the directory without this run")
    return msgspec.convert(read, Stated)


def read_plan(directory: Path, digest: str) -> Plan:
    """Return the run's plan; raise Mistake if its file is missing, damaged, or of another plan."""
    path = directory / PLAN
    try:
        plan = plan_from(read_whole(path))
        if plan.begun == digest:
            return plan
        why = "it is not the plan of run.json"
    except OSError as error:
        why = str(error.strerror)
    except ValueError as error:
        if isinstance(error, Mistake):
            raise
        why = str(error)
    raise Mistake(f"{path} cannot be read ({why}): restore it, or report without this run")


def text_in(path: Path) -> str:
    """Return the text of a file of a run directory; raise Mistake if it cannot be read."""
    try:
        return read_whole(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(
            f"cannot read {path} ({getattr(error, 'strerror', None) or error}): restore it, or "
            "start in another run directory"
        ) from error
