"""Memory that the trainer shares with its workers.

Workers decode right into it, and it is used again and again: handing images over in memory that is
made for each chunk, as a queue would, costs half as much as decoding them does. What workers are
told when they begin lies in it too, since Python waits for ever for a process that dies before it
has read more than a pipe holds.
"""

import math
import shutil
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np

from jbatch.errors import Mistake

FREE, TAKEN = 0, 1
LEAST_WAIT, MOST_WAIT = 0.001, 0.05  # seconds, of a worker between looks at whether it may go on


class RingClosed(Exception):
    """The trainer takes no more chunks."""


class Ring:
    """A number of places for images; chunk n uses place n mod places.

    Chunks are taken in the order of their numbers, and one worker fills all that share a place: so
    a place's flag has at any time one side that may write it.
    """

    def __init__(self, places: int, shape: tuple[int, ...], message: bytes):
        """Make it.

        Args:
            places: chunks that may be decoded and not yet taken.
            shape: of one chunk's images, (most examples, H, W, C).
            message: for the workers to read.

        Raises:
            Mistake: if there is not so much shared memory.
        """
        self._shape, self._length = (places, *shape), len(message)
        size = places + 1 + math.prod(self._shape) + len(message)
        _check_free(size)
        self._memory = SharedMemory(create=True, size=size)
        self._open()
        self._images.fill(0)  # takes the memory now, and not when a worker writes
        self._memory.buf[size - len(message) : size] = message

    def __getstate__(self):
        return self._memory.name, self._shape, self._length

    def __setstate__(self, state):
        name, self._shape, self._length = state
        self._memory = SharedMemory(name)
        self._open()

    def _open(self) -> None:
        places = self._shape[0]
        self._flags = np.ndarray(places, np.uint8, self._memory.buf)
        self._closed = np.ndarray(1, np.bool_, self._memory.buf, places)
        self._images = np.ndarray(self._shape, np.uint8, self._memory.buf, places + 1)

    @property
    def message(self) -> bytes:
        """What the trainer has to say to its workers."""
        start = self._flags.size + self._closed.size + self._images.size
        return bytes(self._memory.buf[start : start + self._length])

    def room(self, number: int) -> np.ndarray:
        """Where a worker writes the images of a chunk; waits until its place is free."""
        place, wait = number % len(self._flags), LEAST_WAIT
        while self._flags[place] != FREE and not self._closed[0]:
            time.sleep(wait)
            wait = min(2 * wait, MOST_WAIT)
        if self._closed[0]:
            raise RingClosed
        self._flags[place] = TAKEN
        return self._images[place]

    def images(self, number: int) -> np.ndarray:
        """What a worker has written."""
        return self._images[number % len(self._flags)]

    def release(self, number: int) -> None:
        """The trainer has taken what it needs of a chunk."""
        self._flags[number % len(self._flags)] = FREE

    def close(self) -> None:
        """Wake the workers that wait, to end."""
        self._closed[0] = True  # a flag of a place would be lost where a worker takes it

    def unlink(self) -> None:
        """Give the memory back, when the workers are gone and no view of it is in use."""
        del self._flags, self._closed, self._images
        self._memory.close()
        self._memory.unlink()


def _check_free(size: int) -> None:
    """On Linux, shared memory that is not there would end a process at its first write."""
    folder = Path("/dev/shm")
    free = shutil.disk_usage(folder).free if folder.is_dir() else math.inf
    if size > free:
        raise Mistake(
            f"the data workers need {size / 2**20:,.0f} MiB of shared memory, and {folder} has "
            f"{free / 2**20:,.0f} free: make it larger (docker run --shm-size), or give fewer "
            "--data.workers"
        )
