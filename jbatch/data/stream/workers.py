"""Decoding chunks in worker processes, through Grain, in order."""

import atexit
import gc
import multiprocessing.util
import os
import pickle
import signal
import subprocess
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import numpy as np

from jbatch.by_value import pickled
from jbatch.data.stream.chunks import CHUNK, Chunk, Chunks, Room
from jbatch.data.stream.ring import Ring
from jbatch.distributed.preemption import SIGNALS
from jbatch.distributed.watchdog import end_with_parent
from jbatch.errors import Mistake
from jbatch.upstream_words import WORKER_DIED

if TYPE_CHECKING:
    import grain

CHUNKS_AHEAD = 3  # decoded chunks per worker that the trainer has not taken yet

Decoded = Generator[tuple[Room, Chunk], None, None]  # a chunk's examples, and what is known of them


def thread_without_signals(name: str) -> ThreadPoolExecutor:
    """Make a thread that blocks SIGINT, SIGTERM and SIGHUP, also in processes that it starts.

    These signals are for the trainer, which needs its workers until it has saved a checkpoint. A
    worker cannot ignore them itself: they could reach it before it has started to ignore them.
    """

    def block() -> None:
        _begin_tracker()  # if Python starts it later, it unblocks the signals again
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    return ThreadPoolExecutor(1, name, initializer=block)


def _begin_tracker() -> None:
    """Start Python's tracker of shared memory and semaphores in a separate process session.

    It frees whatever is left when the trainer and workers have ended. So a signal to the whole
    process group, as batch systems send, must not end it before them.
    """

    def spawn(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        process = subprocess.Popen(args, executable=path, pass_fds=passfds, start_new_session=True)
        process.returncode = 0  # whoever waits for it does so by its process id
        return process.pid

    ours = multiprocessing.util.spawnv_passfds
    multiprocessing.util.spawnv_passfds = spawn
    try:
        resource_tracker.ensure_running()
    finally:
        multiprocessing.util.spawnv_passfds = ours


def give_back() -> None:
    """Free the semaphores of ended workers, as Python does at the end of a process."""
    multiprocessing.util._run_finalizers(0)  # type: ignore[attr-defined]  # private


def decoded(chunks: Chunks, first: int, workers: int) -> Decoded:
    """Yield (examples, what is known of them) of the chunks from number `first` on.

    The number of workers does not change the result; with 0 workers this process decodes. The
    arrays have n examples each, and are valid until the next chunk is requested.

    Raises:
        Mistake: if a file is damaged, or a worker dies.
    """
    if not workers:
        room = [np.empty((CHUNK, *leaf.shape), leaf.dtype) for leaf in chunks.leaves]
        for number in range(first, len(chunks)):
            chunk = chunks.decode(number, room)
            yield [array[: len(chunk.exists)] for array in room], chunk
        return
    try:
        message = pickled(chunks)
    except Exception as error:  # of a person's own records; any error
        raise Mistake(
            f"the records cannot be sent to workers ({type(error).__name__}: {error}): open files "
            "in load, or give workers=0"
        ) from error
    ring = Ring(workers * CHUNKS_AHEAD, chunks.leaves, message)
    # For an iterator that nobody closes: at exit Grain waits for its workers, so they must be woken
    # before. Python calls exit functions in reverse order, and multiprocessing registered earlier.
    atexit.register(ring.close)
    try:
        with closing(_started(_IntoRing(ring, len(chunks)), first, workers)) as iterator:
            try:
                for number in range(first, len(chunks)):
                    chunk = _next(iterator)
                    yield [array[: len(chunk.exists)] for array in ring.examples(number)], chunk
                    ring.release(number)
            finally:
                ring.close()
    finally:
        atexit.unregister(ring.close)
        ring.unlink()


class _IntoRing:
    """A source for Grain: its elements are chunks, and their examples go into the ring."""

    def __init__(self, ring: Ring, length: int):
        self._ring, self._length = ring, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Chunk:
        return self._chunks.decode(number, self._ring.room(number))

    @cached_property
    def _chunks(self) -> Chunks:
        chunks: Chunks = pickle.loads(self._ring.message)
        return chunks


def _started(source: _IntoRing, first: int, workers: int) -> "grain.DatasetIterator[Chunk]":
    """Start Grain's iterator over a source, from number `first` on."""
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # Grain's workers crash without it, as absl's main is not used
    import grain

    # Collect the semaphores of closed streams now. If Python collected them while its resource
    # tracker registers new ones, the tracker would call itself, which 3.13.0 refuses.
    gc.collect()
    # No threads of Grain's own: a worker reads and decodes a chunk as a whole.
    dataset = grain.MapDataset.source(source)[first:].to_iter_dataset(grain.ReadOptions(0, 0))
    # What is known of a chunk is small and goes through pipes. Its examples are in the ring.
    small = grain.experimental.DatasetOptions(min_shm_size=1 << 20)
    dataset = grain.experimental.WithOptionsIterDataset(dataset, small)
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=CHUNKS_AHEAD)
    return iter(dataset.mp_prefetch(options, partial(_begin, os.getpid())))


def _next(iterator: Iterator[Chunk]) -> Chunk:
    try:
        return next(iterator)
    except Mistake as error:
        said = str(error).partition("\n")[0]  # Grain adds lines about its own frames
        raise Mistake(said) from error
    except RuntimeError as error:
        if WORKER_DIED not in str(error):
            raise
        raise Mistake(
            f"a data worker died ({error}). If memory ran out, lower --data.workers. Run the same "
            "command again to resume from the last checkpoint"
        ) from error


def _begin(trainer: int, _index: int, _count: int) -> None:
    """Set up a new worker."""
    end_with_parent(trainer)
    import cv2

    cv2.setNumThreads(0)  # the workers already use all cores
