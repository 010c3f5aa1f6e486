"""Room for the images of a few chunks, shared by the trainer and its workers.

Workers decode right into it, and it is used again and again: handing images over in memory that is
made for each chunk, as a queue would, costs half as much as decoding them does. It also holds what
workers are told when they begin, since Python waits for ever for a worker that dies before it has
read more than a pipe holds.
"""

import math
import time
from multiprocessing.shared_memory import SharedMemory

import numpy as np

FREE, TAKEN, CLOSED = 0, 1, 2
SECONDS_BETWEEN_LOOKS = 0.004  # of a worker, at whether its place is free; decoding takes longer


class RingClosed(Exception):
    """The trainer takes no more chunks."""


class Ring:
    """A number of places; chunk n uses place n mod places.

    Chunks are taken in the order of their numbers, and one worker fills all that share a place: so
    a place's flag has at any time one side that may write it.
    """

    def __init__(self, places: int, shape: tuple[int, ...], told: bytes):
        """`shape` is of one chunk's images, (most examples, H, W, C)."""
        self._shape, self._told = (places, *shape), len(told)
        start = places + math.prod(self._shape)
        self._memory = SharedMemory(create=True, size=start + len(told))
        self._memory.buf[start : start + len(told)] = told
        self._open()

    def __getstate__(self):
        return self._memory.name, self._shape, self._told

    def __setstate__(self, state):
        name, self._shape, self._told = state
        self._memory = SharedMemory(name)
        self._open()

    def _open(self) -> None:
        places = self._shape[0]
        self._flags = np.ndarray(places, np.uint8, self._memory.buf)
        self._images = np.ndarray(self._shape, np.uint8, self._memory.buf, places)

    @property
    def told(self) -> bytes:
        """What the trainer has to say to its workers."""
        start = len(self._flags) + self._images.size
        return bytes(self._memory.buf[start : start + self._told])

    def room(self, number: int) -> np.ndarray:
        """Where a worker writes the images of a chunk; waits until its place is free."""
        place = number % len(self._flags)
        while self._flags[place] != FREE:
            if self._flags[place] == CLOSED:
                raise RingClosed
            time.sleep(SECONDS_BETWEEN_LOOKS)
        self._flags[place] = TAKEN
        return self._images[place]

    def images(self, number: int) -> np.ndarray:
        """What a worker has written."""
        return self._images[number % len(self._flags)]

    def release(self, number: int) -> None:
        """The trainer has taken what it needs of a chunk."""
        self._flags[number % len(self._flags)] = FREE

    def close(self) -> None:
        """Wake who waits; the workers must not be used any more."""
        self._flags[:] = CLOSED

    def unlink(self) -> None:
        """Give the memory back, when the workers are gone."""
        del self._flags, self._images
        self._memory.close()
        self._memory.unlink()
