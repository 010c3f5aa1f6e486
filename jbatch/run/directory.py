"""Write and read the files of a run directory, and refuse to mix two runs in one.

experiment.py   the experiment file, as it was at the first start
code/           the modules that it imports from below its folder
stated.json     what the file says beside this run: docstring, comparison, other variants
run.json        variant, overrides, values of the experiment, digests of plan, data and program
plan.txt        the printed plan
plan.npz        every update of the plan, for reports; as decided so far
plan.jsonl      the decisions of an adaptive run
metrics.jsonl   one line per log point and per evaluation
tensorboard/    the same numbers as TensorBoard events
goodput.jsonl   how the wall time was spent, over all starts
micro_batch.json    the run's micro-batch
task.pkl        the task, for `jbatch.load`
checkpoints/    the last two checkpoints, and those of keep_every
best/           the checkpoint with the best evaluation, of keep_best
damaged/        damaged checkpoints, set aside
lock            locked by the process that trains
profile/        traces of `train --profile`
probe/          results of `jbatch probe`
report.html     the report of `jbatch report`, with its figures as PNG and SVG
"""

import difflib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from jbatch import files
from jbatch.devices.environment import LIBRARIES, SETTINGS, environment
from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.experiment.described import differences_in
from jbatch.experiment.identity import Identity
from jbatch.files import write_whole
from jbatch.json_lines import read_json
from jbatch.plan.plan import Plan
from jbatch.plan.saved import plan_bytes
from jbatch.run import provenance, saved_task
from jbatch.run.kept import CODE, PLAN, STATED, text_in, write_modules, write_stated
from jbatch.run.lock import locked, refuse_links


@contextmanager
def held(
    directory: Path,
    identity: Identity,
    plan: Plan,
    *,
    accept_plan_change: bool = False,
    asked: Callable[[], str | None],
) -> Iterator["Held"]:
    """Make `directory` the run's, or check that it is, and lock it against other processes.

    Args:
        directory: of the run.
        identity: of the run.
        plan: of the run.
        accept_plan_change: resume with this plan even if the directory has another one.
        asked: returns the name of the signal that asked the run to stop, or None. A signal ends
            the wait for the lock.

    Yields:
        A `Held`. If its `changed` is True, the caller calls `write_run` to save the new plan.

    Raises:
        Mistake: if it holds something else, or another process trains in it. The directory is not
            changed then.
    """
    if directory.exists() and not (directory / "run.json").exists() and not _unclaimed(directory):
        raise Mistake(
            f"{directory} exists and is not a run directory (it has no run.json): give another one"
        )
    try:
        str(directory.absolute()).encode()
    except UnicodeEncodeError:
        raise Mistake(f"the name of {directory} is not UTF-8: give another run directory") from None
    missing = list(takewhile(lambda path: not path.exists(), (directory, *directory.parents)))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot make the run directory {directory}: {error.strerror}") from error
    refuse_links(directory)
    with locked(directory, asked) as check:
        if not (fresh := not (directory / "run.json").exists()):
            changed = _changed(directory, identity, plan, accept_plan_change)
            check_digests(directory, identity)
        else:
            write_run(directory, identity, plan)
            changed = False
        here = Held(changed, check)
        try:
            yield here
        except Mistake:
            if fresh and not here.begun:  # the experiment cannot be trained
                _give_up(directory, missing)
            raise


FORMAT = 5  # of run.json and of checkpoints; run.json of format 1 does not name it


@dataclass
class Held:
    """A run directory that this process has locked."""

    changed: bool  # whether the run resumes with another plan than run.json has
    check: Callable[[], None]  # raises Mistake if the directory is no longer this process's
    begun: bool = False  # whether the run is open: a fresh claim that fails before is removed


def write_run(directory: Path, identity: Identity, plan: Plan) -> None:
    """Write the files that say what the run is: its code, plan and values."""
    origin = identity.origin
    source: dict[str, Any] | None = None
    if origin is not None:
        source = {"variant": origin.variant, "overrides": list(origin.overrides)}
        source["cell"] = list(origin.cell)
        if origin.file is not None:
            source["file"] = origin.file
        if origin.code is not None:
            source["seal"] = provenance.seal(what_is_sealed(origin.code, source, origin.modules))
            write_whole(directory / "experiment.py", origin.code)
        write_modules(directory, origin.modules)
        write_stated(directory, origin.stated)
    write_whole(directory / "plan.txt", identity.table)
    write_whole(directory / PLAN, plan_bytes(plan))
    digests = {"data": identity.data, "program": identity.program}
    if identity.validation is not None:
        digests["validation"] = identity.validation
    if identity.init is not None:
        digests["init"] = identity.init
    # Written last: a directory with run.json is a run directory.
    values = {
        "format": FORMAT,
        "origin": source,
        "task_seal": _write_task(directory, identity.task),
        "id": before["id"] if (before := read_run_if_there(directory)) else uuid.uuid4().hex,
        "plan_digest": identity.plan,
        "digests": digests,
        "data_digest_covers": identity.covered,
        "experiment": identity.described,
        "parameters": identity.parameters,
        "series": identity.series,
        "point": identity.point,
        "environment": environment(),
    }
    write_whole(directory / "run.json", json.dumps(values, indent=2) + "\n")


def _write_task(directory: Path, task: bytes | None) -> str | None:
    """Write the pickle of the task, and return its seal; None if it cannot be saved."""
    path = directory / saved_task.NAME
    if task is None:
        path.unlink(missing_ok=True)
        return None
    write_whole(path, task)
    return provenance.seal(saved_task.sealed(task))


def best_checkpoints(directory: Path) -> Path:
    """Return the folder of the checkpoint with the best evaluation."""
    return directory / "best"


def wait_for_run(directory: Path) -> None:
    """Wait until this process sees run.json; raise Mistake if it does not appear."""
    with agree.waiting(f"{directory / 'run.json'} to appear here", files.SECONDS_TO_APPEAR):
        seen = files.appears(directory / "run.json")
    if not seen:
        raise Mistake(
            f"process 0 created {directory}, but this process cannot see it: give a --run-dir on "
            "a file system that all hosts share"
        )


CLAIM = {
    *("experiment.py", CODE, STATED, "plan.txt", PLAN, "task.pkl", "run.json"),
    *("micro_batch.json", "lock"),
}


def _unclaimed(directory: Path) -> bool:
    """Return whether it holds at most the files of an interrupted claim."""
    return directory.is_dir() and all(
        path.name.removesuffix(".tmp") in CLAIM for path in directory.iterdir()
    )


def _give_up(directory: Path, made: Sequence[Path]) -> None:
    """Remove the files of a claim, and the folders in `made`, deepest first."""
    for name in (*(CLAIM - {CODE}), "metrics.jsonl", "goodput.jsonl", "plan.jsonl"):
        (directory / name).unlink(missing_ok=True)
        (directory / f"{name}.tmp").unlink(missing_ok=True)
    for name in (CODE, "checkpoints", "best", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)
    with suppress(OSError):  # a folder with other files stays
        for folder in made:
            folder.rmdir()


def other_environment(directory: Path) -> list[str]:
    """Return a warning if the run started on other hardware, versions or settings than here."""
    there, here = read_run(directory)["environment"], environment()
    differs = [
        f"{name} {there[name]} there, {here[name]} here"
        for name in here
        if there.get(name, here[name]) != here[name]
    ]
    if not differs:
        return []
    return [
        f"this run started on other hardware or versions ({'; '.join(differs)}): parameters will "
        "match only to float rounding"
    ]


def read_run(directory: Path) -> dict[str, Any]:
    """Return the contents of run.json; raise Mistake if it is missing or damaged."""
    path = directory / "run.json"
    if not path.exists() and not path.is_symlink():
        below = sorted((*directory.glob("*/run.json"), *directory.glob("*/*/run.json")))
        such = f", such as {below[0].parent}" if below else ""
        raise Mistake(
            f"{directory} is not a run directory (it has no run.json): give one that train created"
            f"{such}"
        )
    advice = "restore it, or start in another run directory"
    run: dict[str, Any] = read_json(path, _Format, advice)
    if run.get("format") != FORMAT:
        raise Mistake(
            f"another version of jbatch created {directory} (its run.json has format "
            f"{run.get('format', 1)}, this version reads {FORMAT}): use that version, or start in "
            "another run directory"
        )
    checked: dict[str, Any] = read_json(path, _Run, advice)
    return checked


class _Origin(Struct):
    variant: str
    overrides: list[str]
    cell: list[Annotated[str, Meta(pattern=r"^\S+ .")]] = []
    file: str | None = None
    seal: str | None = None


class _Format(Struct):
    """The field that tells the version of a run.json."""

    format: int = 1


class _Run(Struct):
    """The fields of run.json."""

    format: int
    origin: _Origin | None
    plan_digest: str
    experiment: dict[str, Any]
    environment: dict[str, str | int | float | bool | None]
    digests: dict[str, str]
    id: str
    task_seal: str | None = None
    parameters: Annotated[int, Meta(ge=0)] | None = None
    series: str = ""
    point: dict[str, float] | None = None


def read_run_if_there(directory: Path) -> dict[str, Any] | None:
    """Return the contents of run.json; None if the directory has no run.json."""
    path = directory / "run.json"
    return read_run(directory) if path.exists() or path.is_symlink() else None


def what_is_sealed(code: str, source: Mapping[str, Any], modules: Mapping[str, str]) -> str:
    """Return, as one text, everything that decides which code a rebuilt experiment runs."""
    file = source.get("file")
    return json.dumps([code, source["variant"], source["overrides"], file, sorted(modules.items())])


def differences(directory: Path, described: dict[str, Any]) -> list[str]:
    """Return what differs between the run in `directory` and a described experiment."""
    return differences_in(read_run(directory)["experiment"], described)


def holds(directory: Path, described: dict[str, Any], plan: Plan) -> bool:
    """Return whether the directory is a run of exactly this experiment and plan."""
    return (
        (directory / "run.json").exists()
        and not differences(directory, described)
        and read_run(directory)["plan_digest"] == plan.digest
    )


def _changed(directory: Path, identity: Identity, plan: Plan, accept: bool) -> bool:
    """Return whether the plan differs; raise Mistake if that is not accepted, or more differs."""
    found = differences(directory, identity.described)
    if any(not name.startswith("plan.") for name in found):
        raise Mistake(
            f"{directory} holds another run:\n\n  " + "\n  ".join(found) + "\n\nGive another run "
            "directory, or the same experiment as before"
        )
    # The rows that a run begins with do not show what it may decide, nor how its rate follows.
    if read_run(directory)["plan_digest"] == plan.digest and not (plan.decided and found):
        return False
    if not accept:
        there = text_in(directory / "plan.txt").splitlines()
        here = identity.table.splitlines()
        tables = difflib.unified_diff(there, here, "the run's plan", "this plan", lineterm="", n=1)
        why = "\n  ".join(found) or "the schedule gives other rates or sizes"
        raise Mistake(
            f"{directory} has another plan:\n\n  {why}\n\n" + "\n".join(tables) + "\n\n"
            "Give another run directory, the plan of the run, or --accept-plan-change to resume "
            "with this plan from the examples seen"
        )
    seen = max(saved_examples(directory), default=0)
    if seen != plan.end and plan.update_at(seen) == plan.num_updates:
        raise Mistake(
            f"the run in {directory} has seen {seen:,} examples, and this plan, which ends after "
            f"{plan.end:,}, has no update left: give a longer plan, or another run directory"
        )
    return True


def saved_examples(directory: Path) -> list[int]:
    """Return the examples seen at each checkpoint of a run directory."""
    names = [path.name for path in (directory / "checkpoints").glob("*")]
    return [int(name) for name in names if name.isdecimal()]


def check_data(directory: Path, digest: str) -> None:
    """Raise Mistake if the SHA-256 of the data is not the one of the run."""
    if read_run(directory)["digests"]["data"] != digest:
        raise Mistake(
            f"the dataset differs from the one that {directory} was trained on (by its SHA-256): "
            "restore that dataset, or give another run directory"
        )


def check_digests(directory: Path, identity: Identity) -> None:
    """Raise Mistake if the data or the program of an update is not the run's.

    The program is compared under the same versions and settings only, because its text depends on
    them. `other_environment` warns about other versions.
    """
    check_data(directory, identity.data)
    run, here = read_run(directory), environment()
    if run["digests"].get("validation") != identity.validation:
        raise Mistake(
            f"the validation set differs from the one of {directory} (by its SHA-256): restore it, "
            "or give another run directory"
        )
    if identity.init and run["digests"].get("init", "") not in ("", identity.init):
        raise Mistake(
            f"{directory} began with other weights than init names now (by their SHA-256): give "
            "the run that it began with, or another run directory"
        )
    there = run["environment"]
    same = all(there.get(name) == here[name] for name in ("machine", *LIBRARIES, *SETTINGS))
    # The program is of one device, so their number may differ.
    kinds = {str(each.get("devices")).rpartition(" × ")[2] for each in (there, here)}
    if same and len(kinds) == 1 and run["digests"]["program"] != identity.program:
        raise Mistake(
            f"{directory} was trained with other code: its network, loss, augmentation or "
            "optimizer, or what momentum and hold of the plan give it, now computes something else "
            "(by the SHA-256 of the update's program). Restore what was to resume, or give another "
            "run directory"
        )


def directory_of(out: Path, variant: str, seed: int) -> Path:
    """Return a run's directory below `out`: a folder per part of its variant, then the seed."""
    parts = (part.replace("/", "_").replace(" ", "-") for part in variant.split(", "))
    return out.joinpath(*parts, f"seed-{seed}")
