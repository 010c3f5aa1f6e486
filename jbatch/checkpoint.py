"""Saving and restoring a run's state, through Orbax."""

import hashlib
from pathlib import Path

import jax
import numpy as np

from jbatch.errors import Mistake
from jbatch.step import State


class Checkpoints:
    """The checkpoints of one run: written in the background, the last two kept.

    Args:
        directory: where they are.
        read_only: leave the directory as it is, since a trainer may be writing to it.
    """

    def __init__(self, directory: Path, read_only: bool = False):
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, create=True, cleanup_tmp_directories=True
        )
        if read_only:
            options = ocp.CheckpointManagerOptions(read_only=True, create=False)
        self._ocp = ocp
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """The number of updates of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, update: int, state: State) -> None:
        """Copy the state off the devices, then write it in the background."""
        self._manager.save(update, args=self._ocp.args.StandardSave(state))

    def wait(self) -> None:
        """Return when all that was saved is on disk."""
        self._manager.wait_until_finished()

    def restore(self, update: int, like: State) -> State:
        """The state after `update` updates, in the shapes and on the devices of `like`."""
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        try:
            return self._manager.restore(update, args=self._ocp.args.StandardRestore(target))
        except (ValueError, KeyError, OSError) as error:
            reason = str(error).split(" [tensorstore_spec", 1)[0]  # pages of JSON follow
            raise Mistake(
                f"the checkpoint of update {update} under {self._manager.directory} cannot be "
                f"read ({reason}): remove it to go on from the one before"
            ) from error

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.close()


def parameters_digest(params) -> str:
    """SHA-256 of the exact bytes of all parameters, by their names."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
