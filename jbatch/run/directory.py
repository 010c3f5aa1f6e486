"""What a run directory says of its run, and telling runs apart.

experiment.py   the experiment file, as it was
run.json        variant, overrides, values of the experiment, digest of the plan
plan.txt        the printed plan
metrics.jsonl   a line for each log point and each evaluation
tensorboard/    the same as events
goodput.jsonl   where the time went, over all starts
micro_batch.json    how many examples a device puts through at once
checkpoints/    the last two states
damaged/        checkpoints that could not be gone on from
lock            held by the process that trains
profile/        traces, of `train --profile`
report.html     the report of `jbatch report`, with its figures as PNG
"""

import difflib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from jbatch import files
from jbatch.devices.environment import LIBRARIES, SETTINGS, environment
from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.experiment.identity import Identity, differences_in
from jbatch.files import read_whole, write_whole
from jbatch.json_lines import read_json
from jbatch.plan.plan import Plan
from jbatch.run import provenance
from jbatch.run.lock import locked, refuse_links


@contextmanager
def claimed(
    directory: Path,
    identity: Identity,
    plan: Plan,
    *,
    accept_plan_change: bool = False,
    asked: Callable[[], str | None],
) -> Iterator["Claimed"]:
    """Make `directory` the run's, or see that it is already; nobody else trains in it meanwhile.

    Args:
        directory: of the run.
        identity: of the run.
        plan: of the run.
        accept_plan_change: let another plan than the directory's be.
        asked: by what the run was asked to stop, which ends a wait.

    Returns:
        Whether the run goes on by another plan than it says, which `write_run` is to change, and a
        function that sees whether the directory is this process's still.

    Raises:
        Mistake: if it holds something else, or another process trains in it; nothing in it is
            changed then.
    """
    if directory.exists() and not (directory / "run.json").exists() and not _unclaimed(directory):
        raise Mistake(
            f"{directory} exists and is no run directory (it has no run.json): give another"
        )
    try:
        str(directory.absolute()).encode()
    except UnicodeEncodeError:
        raise Mistake(f"{directory} is not named in UTF-8: give another run directory") from None
    fresh = not (directory / "run.json").exists()
    missing = list(takewhile(lambda path: not path.exists(), (directory, *directory.parents)))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot make the run directory {directory}: {error.strerror}") from error
    refuse_links(directory)
    with locked(directory, asked) as check:
        if (directory / "run.json").exists():
            changed = _changed(directory, identity, plan, accept_plan_change)
            _check_digests(directory, identity)
        else:
            write_run(directory, identity)
            changed = False
        try:
            yield Claimed(changed, check)
        except Mistake:
            # What cannot be trained, seen before there was any state: nothing is left of it.
            if fresh and not (directory / "checkpoints").exists():
                _give_up(directory, missing)
            raise


FORMAT = 2  # of run.json; 1 had none, and modules that are elsewhere now


class Claimed(NamedTuple):
    """A run directory that is this process's."""

    changed: bool  # whether the run goes on by another plan than it says
    check: Callable[[], None]  # Mistake if the directory is not this process's any more


def write_run(directory: Path, identity: Identity) -> None:
    """Write what the directory says of its run, the experiment's file too if it has one."""
    source, origin = None, identity.origin
    if origin is not None:
        source = {"variant": origin.variant, "overrides": list(origin.overrides)}
        source["cell"] = list(origin.cell)
        if origin.file is not None:
            source["file"] = origin.file
        source["seal"] = provenance.seal(what_is_sealed(origin.code, source))
        write_whole(directory / "experiment.py", origin.code)
    write_whole(directory / "plan.txt", identity.table)
    # Last, since it is what makes the directory a run's.
    values = {
        "format": FORMAT,
        "origin": source,
        "id": before["id"] if (before := read_run_if_there(directory)) else uuid.uuid4().hex,
        "plan_digest": identity.plan,
        "digests": {"data": identity.data, "program": identity.program},
        "experiment": identity.described,
        "environment": environment(),
    }
    write_whole(directory / "run.json", json.dumps(values, indent=2) + "\n")


def wait_for_run(directory: Path) -> None:
    """See that this process has the run's files before it too, or a Mistake."""
    with agree.waiting(f"{directory / 'run.json'} to be seen here", files.SECONDS_TO_APPEAR):
        seen = files.appears(directory / "run.json")
    if not seen:
        raise Mistake(
            f"{directory} was made by another process and is not seen by this one: give a "
            "--run-dir on a file system that all hosts share"
        )


CLAIM = {"experiment.py", "plan.txt", "run.json", "micro_batch.json", "lock"}


def _unclaimed(directory: Path) -> bool:
    """Whether it is empty but for what a claim that was cut short leaves behind."""
    return directory.is_dir() and all(
        path.name.removesuffix(".tmp") in CLAIM for path in directory.iterdir()
    )


def _give_up(directory: Path, made: Sequence[Path]) -> None:
    """Remove a claim, and the folders that were made for it."""
    for name in CLAIM:
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's files are there by now
        for folder in made:
            folder.rmdir()


def other_environment(directory: Path) -> list[str]:
    """What differs between the machine that a run was begun on and this one, if it matters."""
    there, here = read_run(directory)["environment"], environment()
    differs = [
        f"{name} {there[name]} there, {here[name]} here"
        for name in here
        if there.get(name, here[name]) != here[name]
    ]
    if not differs:
        return []
    return [f"begun elsewhere ({'; '.join(differs)}): parameters agree to float rounding only"]


def read_run(directory: Path) -> dict:
    """The contents of run.json; Mistake if there is none or it is damaged."""
    path = directory / "run.json"
    if not path.exists() and not path.is_symlink():
        raise Mistake(
            f"{directory} is no run directory: it has no run.json; give one that train made"
        )
    advice = "restore it, or start in another run directory"
    run = read_json(path, _Format, advice)
    if run.get("format") != FORMAT:
        raise Mistake(
            f"{directory} was made by another version of jbatch (its run.json has format "
            f"{run.get('format', 1)}, this version reads {FORMAT}): use that version, or start in "
            "another run directory"
        )
    return read_json(path, _Run, advice)


class _Origin(Struct):
    variant: str
    overrides: list[str]
    cell: list[Annotated[str, Meta(pattern=r"^\S+ .")]] = []
    file: str | None = None
    seal: str | None = None


class _Format(Struct):
    """What run.json of any version says."""

    format: int = 1


class _Run(Struct):
    """What run.json says."""

    format: int
    origin: _Origin | None
    plan_digest: str
    experiment: dict[str, Any]
    environment: dict[str, str | int | float | bool | None]
    digests: dict[str, str]
    id: str


def read_run_if_there(directory: Path) -> dict | None:
    """The same; None of a directory that has no run.json."""
    path = directory / "run.json"
    return read_run(directory) if path.exists() or path.is_symlink() else None


def what_is_sealed(code: str, source: Mapping) -> str:
    """All that decides what runs when an experiment is made again."""
    file = [source["file"]] if source.get("file") is not None else []
    return json.dumps([code, source["variant"], source["overrides"], *file])


def text_in(path: Path) -> str:
    """That a run directory holds; Mistake if it cannot be read."""
    try:
        return read_whole(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): restore it, or "
            "start in another run directory"
        ) from error


def differences(directory: Path, described: dict) -> list[str]:
    """What of an experiment, described, is other than when the run in `directory` was made."""
    return differences_in(read_run(directory)["experiment"], described)


def holds(directory: Path, described: dict, plan: Plan) -> bool:
    """Whether the directory is of a run of just this experiment and plan."""
    return (
        (directory / "run.json").exists()
        and not differences(directory, described)
        and read_run(directory)["plan_digest"] == plan.digest
    )


def _changed(directory: Path, identity: Identity, plan: Plan, accept: bool) -> bool:
    """Whether the plan is another, and that is accepted; Mistake if not, or if more is other."""
    found = differences(directory, identity.described)
    if any(not name.startswith("plan.") for name in found):
        raise Mistake(
            f"{directory} holds another run:\n\n  " + "\n  ".join(found) + "\n\nGive another run "
            "directory, or the experiment that it was made with"
        )
    if read_run(directory)["plan_digest"] == plan.digest:
        return False
    if not accept:
        there = text_in(directory / "plan.txt").splitlines()
        here = identity.table.splitlines()
        tables = difflib.unified_diff(there, here, "the run's plan", "this plan", lineterm="", n=1)
        why = "\n  ".join(found) or "the schedule gives other rates or sizes"
        raise Mistake(
            f"{directory} was begun with another plan:\n\n  {why}\n\n" + "\n".join(tables) + "\n\n"
            "Give another run directory, the plan that it was begun with, or --accept-plan-change "
            "to go on by this plan from the examples seen"
        )
    names = [path.name for path in (directory / "checkpoints").glob("*")]
    seen = max((int(name) for name in names if name.isdecimal()), default=0)
    if seen > plan.end:
        raise Mistake(
            f"{directory} has seen {seen:,} examples, and this plan ends after {plan.end:,}: give "
            "a longer one, or another run directory"
        )
    return True


def check_data(directory: Path, digest: str) -> None:
    """See that the data are those that the run was made with, or a Mistake."""
    if read_run(directory)["digests"]["data"] != digest:
        raise Mistake(
            f"{directory} was trained on other data than are found now (by their SHA-256): restore "
            "the data as they were, or give another run directory"
        )


def _check_digests(directory: Path, identity: Identity) -> None:
    """See that data and program are the run's, or a Mistake.

    Under other versions or settings the program's text is another anyway: `other_environment` says
    what differs there.
    """
    check_data(directory, identity.data)
    run, here = read_run(directory), environment()
    same = all(
        run["environment"].get(name) == here[name]
        for name in ("devices", "machine", *LIBRARIES, *SETTINGS)
    )
    if same and run["digests"]["program"] != identity.program:
        raise Mistake(
            f"{directory} was begun with other code: its network, loss, augmentation or optimizer "
            "computes something else now (by the SHA-256 of the update's program): go on with the "
            "code that it was begun with, or give another run directory"
        )


def run_directory(out: Path, variant: str, seed: int) -> Path:
    """Where a run goes among others of its experiment: each part of its name is a folder."""
    parts = (part.replace("/", "_").replace(" ", "-") for part in variant.split(", "))
    return out.joinpath(*parts, f"seed-{seed}")
