"""Chunks decoded by worker processes, through Grain, in order."""

import atexit
import gc
import multiprocessing.util
import os
import pickle
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial
from multiprocessing import resource_tracker

import numpy as np

from jbatch.data.stream.chunks import Chunk, Chunks
from jbatch.data.stream.ring import Ring
from jbatch.distributed.preemption import SIGNALS
from jbatch.distributed.watchdog import end_with_parent
from jbatch.errors import Mistake

CHUNKS_AHEAD = 3  # that each worker may have decoded before they are taken


def thread_without_signals(name: str) -> ThreadPoolExecutor:
    """One thread that neither it nor any process it starts is sent SIGINT, SIGTERM or SIGHUP.

    All are meant for the trainer, which needs its workers until it has saved; and they would reach
    a worker before it could choose to ignore them.
    """

    def block() -> None:
        _begin_tracker()  # or else, starting it later, Python unblocks them again
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    return ThreadPoolExecutor(1, name, initializer=block)


def _begin_tracker() -> None:
    """Begin Python's tracker of shared memory and semaphores, in a session of its own.

    It gives back what is left when trainer and workers are gone; a signal to all processes of a
    group, as a batch system's, must not end it before them.
    """

    def spawn(path: bytes, arguments: list, descriptors: list[int]) -> int:
        process = subprocess.Popen(
            arguments, executable=path, pass_fds=descriptors, start_new_session=True
        )
        process.returncode = 0  # it is waited for by its number, if at all
        return process.pid

    ours = multiprocessing.util.spawnv_passfds
    multiprocessing.util.spawnv_passfds = spawn
    try:
        resource_tracker.ensure_running()
    finally:
        multiprocessing.util.spawnv_passfds = ours


def give_back() -> None:
    """Give back the semaphores of workers that are gone, as Python does at the end of a process."""
    multiprocessing.util._run_finalizers(0)


def decoded(chunks: Chunks, first: int, workers: int) -> Iterator[tuple[np.ndarray, Chunk]]:
    """(images, the rest) of the chunks from number `first` on, whatever the number of workers.

    Without any they are decoded in here. Images are (n, H, W, C) uint8, and are gone when the next
    chunk is asked for.

    Raises:
        Mistake: of a damaged file, or when a worker dies.
    """
    if not workers:
        images = np.empty(chunks.shape, np.uint8)
        for number in range(first, len(chunks)):
            chunk = chunks.decode(number, images)
            yield images[: len(chunk.labels)], chunk
        return
    ring = Ring(workers * CHUNKS_AHEAD, chunks.shape, pickle.dumps(chunks))
    # Should nobody close this iterator, Grain would wait for its workers before they are woken:
    # Python calls in the reverse order, and multiprocessing was imported before.
    atexit.register(ring.close)
    try:
        with closing(_started(_IntoRing(ring, len(chunks)), first, workers)) as iterator:
            try:
                for number in range(first, len(chunks)):
                    chunk = _next(iterator)
                    yield ring.images(number)[: len(chunk.labels)], chunk
                    ring.release(number)
            finally:
                ring.close()
    finally:
        atexit.unregister(ring.close)
        ring.unlink()


class _IntoRing:
    """Chunks as a source of Grain's, whose elements are all but the images."""

    def __init__(self, ring: Ring, length: int):
        self._ring, self._length = ring, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Chunk:
        return self._chunks.decode(number, self._ring.room(number))

    @cached_property
    def _chunks(self) -> Chunks:
        return pickle.loads(self._ring.message)


def _started(source: _IntoRing, first: int, workers: int):
    """Grain's iterator over a source, from number `first` on."""
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # without absl's own main, Grain's workers would crash
    import grain

    # Semaphores of streams that are closed, should they be collected while Python's resource
    # tracker registers new ones, would call it from within itself, which 3.13.0 refuses.
    gc.collect()
    # A chunk is read and decoded as a whole: Grain's own threads would only be in the way.
    dataset = grain.MapDataset.source(source)[first:].to_iter_dataset(grain.ReadOptions(0, 0))
    small = grain.experimental.DatasetOptions(min_shm_size=1 << 20)  # by pipe, all that is left
    dataset = grain.experimental.WithOptionsIterDataset(dataset, small)
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=CHUNKS_AHEAD)
    return iter(dataset.mp_prefetch(options, partial(_begin, os.getpid())))


def _next(iterator) -> Chunk:
    try:
        return next(iterator)
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise Mistake(
            f"a data worker died ({error}): if memory ran out, give fewer --data.workers; the same "
            "command goes on from the last checkpoint"
        ) from error


def _begin(trainer: int, _index: int, _count: int) -> None:
    """In a new worker."""
    end_with_parent(trainer)
    import cv2

    cv2.setNumThreads(0)  # the workers are the parallelism
