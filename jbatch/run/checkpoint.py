"""Saving and restoring a run's state, through Orbax."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.files import appears, not_files
from jbatch.step.pure import State

CONTENT = "default"  # Orbax's folder of a checkpoint's only item
TAG = 4  # words beside the checksums
MOST_KEPT = 2  # and never fewer while the next is being written
GLOB = set("*?[]{}")  # of a path's name, that Orbax takes for a pattern
SAVE_SECONDS = 300  # in which all processes must have written their part


class SaveFailed(Exception):
    """A checkpoint is not on disk; those before it are."""


class Restored(NamedTuple):
    """What a run goes on from."""

    examples: int  # seen, by which a checkpoint is named
    state: State


class Checkpoints:
    """The checkpoints of one run: written in the background, the last two kept.

    A checkpoint is named by the examples that its run has seen, which mean the same under any plan.
    It holds a checksum of its state, since bits that change on disk need not make it unreadable.

    Args:
        directory: where they are.
        say: told of those that are unfinished or damaged.
        run: what tells the run from others, for a checkpoint that was put there from another.
        read_only: leave the directory as it is, since a trainer may be writing to it.
    """

    def __init__(
        self, directory: Path, say: Callable[[str], None], run: str = "", read_only: bool = False
    ):
        self._run = run
        self._directory, self._read_only, self.say = directory.absolute(), read_only, say
        self._handle = None
        if GLOB & set(str(self._directory)):
            if not read_only:
                directory.mkdir(exist_ok=True)
            self._handle = _handle(directory)
        if not read_only:
            for path in self._directory.glob("*.orbax-checkpoint-tmp*"):
                examples = path.name.partition(".")[0]
                if examples.isdecimal():
                    name = f"the checkpoint of {int(examples):,} examples"
                    say(f"{name} was not finished: it is left out")
        self._manager = self._open()
        self._saving: tuple[int, State | None] | None = None  # which, and as what to read it again
        self._proved = False  # that what is written can be read

    @property
    def newest(self) -> int | None:
        """Examples seen at the newest checkpoint that is finished."""
        return self._manager.latest_step()

    def save(self, examples: int, state: State) -> None:
        """Copy the state off the devices, then write it in the background.

        Raises:
            SaveFailed: if it cannot be begun.
        """
        import orbax.checkpoint as ocp

        sums = _with_tag(checksum(state), self._tag(examples))
        tree = ocp.args.StandardSave({"state": state, "checksum": sums})
        self._reported("save", partial(self._manager.save, examples, args=tree))
        alone = jax.process_count() == 1
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        self._saving = examples, None if self._proved or not alone else shapes

    def wait(self) -> None:
        """Return when all that was saved is on disk; SaveFailed if it cannot be."""
        self._reported("wait", self._finish)

    def restore(self, like: State) -> Restored | None:
        """The newest state that is whole.

        Args:
            like: shapes, dtypes and shardings of the run's state, or one such state.

        Returns:
            None if there is no checkpoint.

        Raises:
            Mistake: if there are some, and none is whole.
        """
        damaged = {}
        tried: set[int] = set()
        while steps := [step for step in self._steps() if step not in tried]:
            examples = steps[0]
            tried.add(examples)
            state, problem = self._tried(examples, like)
            problem = next(filter(None, agree.exchange(f"restore {examples}", problem)), "")
            if not problem:
                self._move_aside(damaged)
                self._proved = True
                for other, why in damaged.items():
                    self.say(
                        f"the checkpoint of {other:,} examples is damaged ({why}): that of "
                        f"{examples:,} is used"
                    )
                return Restored(examples, state)
            damaged[examples] = problem
            if self._read_only:  # a trainer may have gone on, and removed what was there
                self._manager.reload()
        if not damaged:
            return None
        reasons = "; ".join(f"of {examples:,} examples: {why}" for examples, why in damaged.items())
        raise Mistake(
            f"no checkpoint under {self._directory} is whole ({reasons}): restore one, or start in "
            "another run directory"
        )

    def _steps(self) -> list[int]:
        """What there is, newest first; the same in all processes."""
        found = json.dumps(sorted(self._manager.all_steps(), reverse=True))
        return json.loads(agree.exchange("checkpoints", found)[0])

    def close(self) -> None:
        """Wait for what is being written."""
        failures = (ValueError, OSError, jax.errors.JaxRuntimeError)
        try:
            self._manager.wait_until_finished()  # the other processes may be gone
        except failures as failure:
            self.say(f"a checkpoint could not be written ({_in_short(failure)})")
        with suppress(*failures):
            self._manager.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self):
        import orbax.checkpoint as ocp

        class Manager(ocp.CheckpointManager):
            def reached_preemption(self, step: int) -> bool:
                """No: the loop asks that in every turn, and JAX expects one count of one caller."""
                return False

        if self._read_only:
            options = ocp.CheckpointManagerOptions(read_only=True, create=False)
        else:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=MOST_KEPT,
                create=True,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(timeout_secs=SAVE_SECONDS),
            )
        path = self._directory
        if self._handle is not None:  # the same folder by a name that is no pattern
            path = Path(f"/proc/self/fd/{self._handle}")
        # Told what it is, Orbax does not look for that in the newest, which may be empty.
        handler = ocp.StandardCheckpointHandler()
        return Manager(path, item_handlers=handler, options=options)

    def _tried(self, examples: int, like: State) -> tuple[State | None, str]:
        """(state, "") or (None, why it cannot be read).

        Twice, since a disk may fail in passing; of several processes all would have to try again.
        """
        for _ in range(2 if jax.process_count() == 1 else 1):
            try:
                return self._read(examples, like), ""
            except Exception as error:  # damage shows in as many ways as there are layers below
                problem = _in_short(error)
        return None, problem

    def _read(self, examples: int, like: State) -> State:
        import orbax.checkpoint as ocp

        if jax.process_count() > 1:
            # A network file system may show a process the newest later than the others.
            appears(self._directory / str(examples))
            self._manager.reload()
        if not (self._directory / str(examples) / CONTENT).is_dir():
            raise ValueError("it holds no state")
        if odd := not_files(self._directory / str(examples)):
            raise ValueError(f"{odd.name} in it is no ordinary file")
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            {"state": like, "checksum": _of_checksum(like)},
        )
        tree = self._manager.restore(examples, args=ocp.args.StandardRestore(target))
        *sums, tag = np.split(np.asarray(tree["checksum"]), [-TAG])
        if (tag != self._tag(examples)).any():
            raise ValueError("it is of another run, or of other examples than its name says")
        if (np.asarray(checksum(tree["state"])) != sums).any():
            raise ValueError("some of its bits have changed")
        return tree["state"]

    def _tag(self, examples: int) -> np.ndarray:
        """By which a checkpoint is known as just this run's, and of so many examples."""
        hashed = hashlib.sha256(f"{self._run} {examples}".encode()).digest()
        return np.frombuffer(hashed, np.uint32, TAG)

    def _finish(self) -> None:
        """Wait for what was saved, and see that it is there; the first of a run is read again.

        Not all that goes wrong below raises here: a file system may have turned read-only, or lie.
        """
        saving, self._saving = self._saving, None
        self._manager.wait_until_finished()
        if saving is None:
            return
        examples, like = saving
        if agree.first() and not (self._directory / str(examples) / CONTENT).is_dir():
            raise OSError(errno.ENOENT, "what was written is not there", str(self._directory))
        if like is not None:
            cpu = jax.local_devices(backend="cpu")[0]
            on_host = jax.sharding.SingleDeviceSharding(cpu)  # which has room beside the devices
            shapes = partial(jax.ShapeDtypeStruct, sharding=on_host)
            try:
                self._read(
                    examples, jax.tree.map(lambda leaf: shapes(leaf.shape, leaf.dtype), like)
                )
            except Exception as error:  # as many as there are layers below
                raise ValueError(f"it cannot be read again: {_in_short(error)}") from None
            self._proved = True

    def _move_aside(self, damaged: dict[int, str]) -> None:
        """Make room for a whole checkpoint of the same name."""
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
        """Do a part of saving; if it fails in any process, a SaveFailed in all of them.

        A manager that failed forgets some of what it has written, and leaves half a checkpoint: all
        processes begin anew with what is on disk.
        """
        problem, late = "", f"it was not written within {SAVE_SECONDS:,} s"
        try:
            work()
        except (ValueError, OSError) as error:
            problem = _in_short(error)
        except jax.errors.JaxRuntimeError as error:  # Orbax waits for the other processes in vain
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
            failure = error.__context__
            problem = _in_short(failure) if isinstance(failure, ValueError | OSError) else late
        problems = list(filter(None, agree.exchange(what, problem)))
        if problems:
            self._manager = self._open()
            raise SaveFailed(next((text for text in problems if text != late), late))


@jax.jit
def checksum(state: State) -> jax.Array:
    """(leaves,) uint32, other for any state of which one bit is another; of leaves of any dtype.

    The sum over a leaf's words, each times an odd number of its own, modulo 2³²: whole numbers, so
    that it is the same however the state lies on devices.
    """
    return jnp.stack([_weighted_sum(leaf) for leaf in jax.tree.leaves(state)])


@jax.jit
def _with_tag(sums: jax.Array, tag: jax.Array) -> jax.Array:
    return jnp.concatenate((sums, tag))


def _of_checksum(like: State) -> jax.ShapeDtypeStruct:
    leaves = jax.tree.leaves(like)
    return jax.ShapeDtypeStruct((len(leaves) + TAG,), np.uint32, sharding=leaves[0].sharding)


def _weighted_sum(leaf: jax.Array) -> jax.Array:
    words = _words(leaf)
    odd = 2 * jax.lax.iota(jnp.uint32, words.size) + 1
    return (words.reshape(-1) * odd).sum(dtype=jnp.uint32)


def _words(leaf: jax.Array) -> jax.Array:
    """A leaf's bits, as uint32: one word for each number of up to 32 bits, two for one of 64."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack((leaf.real, leaf.imag))
    if leaf.dtype == bool or jax.dtypes.itemsize_bits(leaf.dtype) < 8:
        leaf = leaf.astype(jnp.int8)
    unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)


def _handle(directory: Path) -> int:
    """An open folder: Orbax looks for its files by patterns."""
    if not Path("/proc/self/fd").is_dir():
        raise Mistake(
            f"{directory}: checkpoints cannot be kept below a folder whose name has one of "
            f"{' '.join(sorted(GLOB))}; give another run directory"
        )
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)


def _in_short(error: Exception) -> str:
    """What an error says, of Orbax's and tensorstore's nested ones the innermost."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip() or type(error).__name__).split(" [")[0].splitlines()[0]
    return first.rpartition(": ")[2] if re.match("[A-Z_]+: ", first) else first[:300]


def parameters_digest(params) -> str:
    """SHA-256 of the exact bytes of all parameters, by their names."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
