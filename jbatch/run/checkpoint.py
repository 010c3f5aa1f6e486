"""Save and restore a run's state with Orbax."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.files import appears, not_files, read_whole
from jbatch.run.checksum import checksum
from jbatch.step.pure import State
from jbatch.task.base import Tree
from jbatch.testing import point
from jbatch.upstream_words import METADATA, TOO_LATE, UNFINISHED

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

CONTENT = "default"  # Orbax's name for the folder of a checkpoint's only item
BESIDE = "jbatch"  # our key in Orbax's metadata
TAG = 4  # uint32 words after the checksums, that identify run and examples
MOST_KEPT = 2  # still 2 while the next checkpoint is being written
GLOB = set("*?[]{}")  # characters of a path that Orbax would read as a pattern
SAVE_SECONDS = 300  # time limit for all processes to write their part


class SaveFailed(Exception):
    """A checkpoint could not be written; the earlier ones are still on disk."""


class Restored(NamedTuple):
    """The state that a run resumes from."""

    examples: int  # seen; also the checkpoint's name
    state: State


class Checkpoints:
    """Writes the checkpoints of one run in the background, and keeps the last ones.

    The name of a checkpoint is the number of examples seen, because it means the same under any
    plan. A checkpoint holds a checksum of its state, because Orbax can read a file in which some
    bits have changed.

    Args:
        directory: the folder of the checkpoints.
        say: receives a message about each unfinished or damaged checkpoint.
        run: the id of the run, to detect a checkpoint that was copied from another run.
        read_only: do not change the directory, because a trainer may be writing to it.
        most: number of checkpoints to keep, the newest.
        kept: examples seen at checkpoints that stay beside these.
    """

    def __init__(
        self,
        directory: Path,
        say: Callable[[str], None],
        run: str = "",
        read_only: bool = False,
        most: int = MOST_KEPT,
        kept: Sequence[int] = (),
    ):
        self._run, self._most, self._kept = run, most, set(kept)
        self._directory, self._read_only, self.say = directory.absolute(), read_only, say
        self._handle: int | None = None
        if GLOB & set(str(self._directory)):
            if not read_only:
                directory.mkdir(exist_ok=True)
            self._handle = _handle(directory)
        if not read_only:
            for path in self._directory.glob(UNFINISHED):
                examples = path.name.partition(".")[0]
                if examples.isdecimal():
                    name = f"the checkpoint of {int(examples):,} examples"
                    say(f"{name} is incomplete: ignored")
        self._manager = self._open()
        self._saving: tuple[int, State | None] | None = None  # (examples, shapes to read it back)
        self._proved = False  # whether a checkpoint of this run was read back

    @property
    def newest(self) -> int | None:
        """Examples seen at the newest complete checkpoint; None without one."""
        step: int | None = self._manager.latest_step()
        return step

    def keep(self, kept: Sequence[int]) -> None:
        """Let these checkpoints stay, by examples seen, and no others but the newest."""
        self._kept = set(kept)

    def save(self, examples: int, state: State, beside: str = "") -> None:
        """Copy the state off the devices, then write it in the background.

        Args:
            examples: seen.
            state: of the run.
            beside: text that goes with it, see `beside`.

        Raises:
            SaveFailed: if the write cannot start.
        """
        import orbax.checkpoint as ocp

        point("save begins")
        sums = _with_tag(checksum(state), self._tag(examples, beside))
        tree = ocp.args.StandardSave({"state": state, "checksum": sums})
        text = {BESIDE: beside} if beside else None
        write = partial(self._manager.save, examples, args=tree, custom_metadata=text)
        self._reported("save", write)
        alone = jax.process_count() == 1
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        self._saving = examples, None if self._proved or not alone else shapes
        point("save under way", self)

    def beside(self, examples: int) -> str:
        """Return the text that was saved with a checkpoint; the checkpoint's tag covers it.

        Raises:
            ValueError: if it cannot be read.
        """
        path = self._directory / str(examples) / METADATA
        if not path.exists():
            return ""
        saved = json.loads(read_whole(path)).get("custom_metadata") or {}
        return str(saved.get(BESIDE, ""))

    def wait(self) -> None:
        """Wait until the last save is on disk; raise SaveFailed if it could not be written."""
        self._reported("wait", self._finish)

    def restore(self, like: State, at: int | None = None) -> Restored | None:
        """Return the newest undamaged state, and set newer damaged ones aside.

        Args:
            like: shapes, dtypes and shardings of the run's state, or such a state.
            at: examples seen at the wanted checkpoint; None for the newest.

        Returns:
            None if there is no checkpoint.

        Raises:
            Mistake: if there are checkpoints, and all are damaged.
        """
        damaged: dict[int, str] = {}
        there = self._steps()
        tried = {step for step in there if at not in (None, step)}
        if at is not None and at not in there:
            known = f"give {', '.join(map(str, reversed(there)))}" if there else "it has none"
            raise Mistake(f"{self._directory} has no checkpoint of {at} examples: {known}")
        while steps := [step for step in self._steps() if step not in tried]:
            examples = steps[0]
            tried.add(examples)
            state, problem = self._tried(examples, like)
            problem = next(filter(None, agree.exchange(f"restore {examples}", problem)), "")
            if not problem:
                assert state is not None
                self._move_aside(damaged)
                self._proved = True
                for other, why in damaged.items():
                    self.say(
                        f"the checkpoint of {other:,} examples is damaged ({why}): using the one "
                        f"of {examples:,} examples"
                    )
                return Restored(examples, state)
            damaged[examples] = problem
            if self._read_only:  # a trainer may have removed old checkpoints meanwhile
                self._manager.reload()
        if not damaged:
            return None
        reasons = "; ".join(f"of {examples:,} examples: {why}" for examples, why in damaged.items())
        which = "every" if at is None else "that"
        raise Mistake(
            f"{which} checkpoint under {self._directory} is damaged ({reasons}): restore one, or "
            "start in another run directory"
        )

    def _steps(self) -> list[int]:
        """Return the checkpoints that process 0 sees, newest first."""
        found = json.dumps(sorted(self._manager.all_steps(), reverse=True))
        steps: list[int] = json.loads(agree.exchange("checkpoints", found)[0])
        return steps

    def close(self) -> None:
        """Wait for a save in progress, then close; report a failed save."""
        failures = (ValueError, OSError, jax.errors.JaxRuntimeError)
        try:
            self._manager.wait_until_finished()  # the other processes may be lost
        except failures as failure:
            self.say(f"could not save a checkpoint ({_in_short(failure)})")
        with suppress(*failures):
            self._manager.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> "ocp.CheckpointManager":
        import orbax.checkpoint as ocp

        class Manager(ocp.CheckpointManager):  # type: ignore[misc]  # Orbax has no types
            def reached_preemption(self, step: int) -> bool:
                """Return False: the loop asks JAX in every turn, and JAX expects one caller."""
                return False

        class Others(ocp.checkpoint_managers.PreservationPolicy):  # type: ignore[misc]
            def should_preserve(policy, found: Any, *, context: Any) -> list[bool]:
                """Return which checkpoints stay beside the newest."""
                return [each.step in self._kept for each in found]

        if self._read_only:
            options = ocp.CheckpointManagerOptions(read_only=True, create=False)
        else:
            newest = ocp.checkpoint_managers.LatestN(self._most)
            others = Others()
            options = ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy([newest, others]),
                create=True,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(timeout_secs=SAVE_SECONDS),
            )
        path = self._directory
        if self._handle is not None:  # a name of the same folder without pattern characters
            path = Path(f"/proc/self/fd/{self._handle}")
        # Without a handler, Orbax would look for it in the newest checkpoint, which may be empty.
        handler = ocp.StandardCheckpointHandler()
        return Manager(path, item_handlers=handler, options=options)

    def _tried(self, examples: int, like: State) -> tuple[State | None, str]:
        """Return (state, ""), or (None, why it cannot be read).

        A single process tries twice, because a disk may fail for a moment. Several processes would
        have to agree on a second try.
        """
        for _ in range(2 if jax.process_count() == 1 else 1):
            try:
                return self._read(examples, like), ""
            except Exception as error:  # damage can raise any error of Orbax or tensorstore
                problem = _in_short(error)
        return None, problem

    def _read(self, examples: int, like: State) -> State:
        import orbax.checkpoint as ocp

        if jax.process_count() > 1:
            # On a network file system, a new checkpoint may appear later to some processes.
            appears(self._directory / str(examples))
            self._manager.reload()
        if not (self._directory / str(examples) / CONTENT).is_dir():
            raise ValueError("it holds no state")
        if odd := not_files(self._directory / str(examples)):
            raise ValueError(f"{odd.name} in it is not an ordinary file")
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            {"state": like, "checksum": _of_checksum(like)},
        )
        tree = self._manager.restore(examples, args=ocp.args.StandardRestore(target))
        *sums, tag = np.split(np.asarray(tree["checksum"]), [-TAG])
        if (tag != self._tag(examples, self.beside(examples))).any():
            raise ValueError("it is of another run, or its name is not its number of examples")
        if (np.asarray(checksum(tree["state"])) != sums).any():
            raise ValueError("some of its bits have changed")
        state: State = tree["state"]
        return state

    def _tag(self, examples: int, beside: str) -> npt.NDArray[np.uint32]:
        """Return (TAG,) uint32 that identify this run, this number of examples and the text."""
        hashed = hashlib.sha256(f"{self._run} {examples}{beside}".encode()).digest()
        return np.frombuffer(hashed, np.uint32, TAG)

    def _finish(self) -> None:
        """Wait for the save and check that it is on disk; read the first one of a run back.

        A failed write does not always raise here, for example if the file system became read-only.
        """
        saving, self._saving = self._saving, None
        self._manager.wait_until_finished()
        if saving is None:
            return
        examples, like = saving
        if agree.first() and not (self._directory / str(examples) / CONTENT).is_dir():
            raise OSError(errno.ENOENT, "it is missing after the write", str(self._directory))
        if like is not None:
            cpu = jax.local_devices(backend="cpu")[0]
            # On the host, because the devices may have no room for a second state.
            on_host = jax.sharding.SingleDeviceSharding(cpu)
            shapes = partial(jax.ShapeDtypeStruct, sharding=on_host)
            try:
                self._read(
                    examples, jax.tree.map(lambda leaf: shapes(leaf.shape, leaf.dtype), like)
                )
            except Exception as error:  # any error of Orbax or tensorstore
                raise ValueError(f"it cannot be read back: {_in_short(error)}") from None
            self._proved = True

    def _move_aside(self, damaged: dict[int, str]) -> None:
        """Move damaged checkpoints to `damaged/`, so that new ones can take their names."""
        if self._read_only or not damaged:
            return
        if agree.first():
            aside = self._directory.parent / "damaged"
            aside.mkdir(exist_ok=True)
            for examples in damaged:
                shutil.rmtree(aside / str(examples), ignore_errors=True)
                (self._directory / str(examples)).rename(aside / str(examples))
        agree.exchange("moved aside", "")
        self._manager.reload()

    def _reported(self, what: str, work: Callable[[], object]) -> None:
        """Run a part of saving; if it fails in one process, raise SaveFailed in all of them.

        After a failure, Orbax's manager forgets some checkpoints and leaves an incomplete one. So
        all processes open a new manager.
        """
        problem, late = "", f"it was not written within {SAVE_SECONDS:,} s"
        try:
            work()
        except (ValueError, OSError) as error:
            problem = _in_short(error)
        except jax.errors.JaxRuntimeError as error:  # Orbax waited too long for another process
            if TOO_LATE not in str(error):
                raise
            failure = error.__context__
            problem = _in_short(failure) if isinstance(failure, ValueError | OSError) else late
        problems = list(filter(None, agree.exchange(what, problem)))
        if problems:
            self._manager = self._open()
            raise SaveFailed(next((text for text in problems if text != late), late))


@jax.jit
def _with_tag(sums: jax.Array, tag: jax.Array) -> jax.Array:
    return jnp.concatenate((sums, tag))


def _of_checksum(like: State) -> jax.ShapeDtypeStruct:
    leaves = jax.tree.leaves(like)
    return jax.ShapeDtypeStruct((len(leaves) + TAG,), np.uint32, sharding=leaves[0].sharding)


def _handle(directory: Path) -> int:
    """Open the folder, because Orbax would read its name as a pattern; return the descriptor."""
    if not Path("/proc/self/fd").is_dir():
        raise Mistake(
            f"cannot save checkpoints in {directory}, because its name has one of "
            f"{' '.join(sorted(GLOB))}: give another run directory"
        )
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)


def _in_short(error: BaseException) -> str:
    """Return the first line of an error, or of its innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip() or type(error).__name__).split(" [")[0].splitlines()[0].rstrip()
    return first.rpartition(": ")[2] if re.match("[A-Z_]+: ", first) else first[:300]


def parameters_digest(params: Tree) -> str:
    """Return the SHA-256 of the exact bytes of all parameters and their names."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
