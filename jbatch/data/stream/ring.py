"""Memory that the trainer shares with its workers.

Workers decode directly into it, and it is reused for all chunks. A queue would allocate memory for
each chunk, which costs half as much as decoding. The ring also holds the workers' first message.
Through a pipe, Python would wait forever if a worker dies before it has read a message larger than
the pipe's buffer.
"""

import math
import shutil
import time
from collections.abc import Sequence
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jbatch.data.stream.chunks import CHUNK, Leaf, Room
from jbatch.errors import Mistake
from jbatch.text import byte_size

FREE, TAKEN = 0, 1
ALIGNMENT = 64  # bytes
LEAST_WAIT, MOST_WAIT = 0.001, 0.05  # seconds between a worker's looks at a place's flag


class RingClosed(Exception):
    """The trainer takes no more chunks; a worker ends on it."""


class Ring:
    """A fixed number of places for chunks; chunk n uses place n mod places.

    The trainer takes chunks in the order of their numbers, and one worker fills all chunks of a
    place. So only one process may write a place's flag at any time.
    """

    def __init__(self, places: int, leaves: Sequence[Leaf], message: bytes):
        """Allocate the shared memory.

        Args:
            places: most chunks that are decoded and not yet taken.
            leaves: of one example.
            message: first message to the workers.

        Raises:
            Mistake: if too little shared memory is free.
        """
        self._places, self._leaves, self._length = places, tuple(leaves), len(message)
        size = self._offsets()[-1] + len(message)
        _check_free(size)
        self._memory = SharedMemory(create=True, size=size)
        self._open()
        for array in self._arrays:
            array.fill(0)  # reserves the memory now, not when a worker writes
        assert self._memory.buf is not None  # it is open
        self._memory.buf[size - len(message) : size] = message

    def __getstate__(self) -> tuple[str, int, tuple[Leaf, ...], int]:
        return self._memory.name, self._places, self._leaves, self._length

    def __setstate__(self, state: tuple[str, int, tuple[Leaf, ...], int]) -> None:
        name, self._places, self._leaves, self._length = state
        self._memory = SharedMemory(name)
        self._open()

    def _offsets(self) -> list[int]:
        """Return where each leaf's array begins, aligned, and where the last one ends."""
        starts = [self._places + 1]
        for leaf in self._leaves:
            starts[-1] += -starts[-1] % ALIGNMENT
            starts.append(starts[-1] + self._places * CHUNK * leaf.nbytes)
        return starts

    def _open(self) -> None:
        places = self._places
        self._flags = np.ndarray(places, np.uint8, self._memory.buf)
        self._closed = np.ndarray(1, np.bool_, self._memory.buf, places)
        self._arrays: list[npt.NDArray[Any]] = [
            np.ndarray((places, CHUNK, *leaf.shape), leaf.dtype, self._memory.buf, start)
            for leaf, start in zip(self._leaves, self._offsets(), strict=False)
        ]

    @property
    def message(self) -> bytes:
        """The trainer's first message to its workers."""
        start = self._offsets()[-1]
        assert self._memory.buf is not None  # it is open
        return bytes(self._memory.buf[start : start + self._length])

    def room(self, number: int) -> Room:
        """Wait until a chunk's place is free; return the memory for its examples.

        Raises:
            RingClosed: if the trainer takes no more chunks.
        """
        place, wait = number % len(self._flags), LEAST_WAIT
        while self._flags[place] != FREE and not self._closed[0]:
            time.sleep(wait)
            wait = min(2 * wait, MOST_WAIT)
        if self._closed[0]:
            raise RingClosed
        self._flags[place] = TAKEN
        return self.examples(number)

    def examples(self, number: int) -> Room:
        """Return the memory of a chunk's examples."""
        return [array[number % self._places] for array in self._arrays]

    def release(self, number: int) -> None:
        """Free the place of a chunk that the trainer has copied."""
        self._flags[number % len(self._flags)] = FREE

    def close(self) -> None:
        """Wake the waiting workers, so that they end."""
        self._closed[0] = True  # not a place's flag: a worker could overwrite it

    def unlink(self) -> None:
        """Free the memory, once the workers have ended and no view of it is in use."""
        del self._flags, self._closed, self._arrays
        self._memory.close()
        self._memory.unlink()


def _check_free(size: int) -> None:
    """Check that enough shared memory is free.

    Linux kills a process that writes to shared memory which is not there.

    Raises:
        Mistake: if too little is free.
    """
    folder = Path("/dev/shm")
    free = shutil.disk_usage(folder).free if folder.is_dir() else math.inf
    if size > free:
        raise Mistake(
            f"the data workers need {byte_size(size)} of shared memory, but {folder} has only "
            f"{byte_size(free)} free: enlarge it (docker run --shm-size), or lower "
            "--data.workers"
        )
