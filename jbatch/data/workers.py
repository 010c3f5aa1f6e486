"""Chunks decoded by worker processes, through Grain, in order."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import resource_tracker

from jbatch.data.chunks import Chunk
from jbatch.errors import Mistake

BUFFERED = 2  # chunks that each worker has ready
MOST_BY_PIPE = 1 << 16  # bytes; larger arrays are handed over in shared memory
SECONDS_BETWEEN_LOOKS = 1.0  # of a worker, at whether the trainer still lives


def thread_without_signals(name: str) -> ThreadPoolExecutor:
    """One thread that neither it nor any process it starts is sent SIGINT or SIGTERM.

    Both are meant for the trainer, which needs its workers until it has saved; and they would reach
    a worker before it could choose to ignore them.
    """

    def block() -> None:
        resource_tracker.ensure_running()  # or else, starting it later, Python unblocks them again
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

    return ThreadPoolExecutor(1, name, initializer=block)


def decoded(chunks: Sequence, first: int, workers: int, *, endless: bool) -> Iterator[Chunk]:
    """The chunks from number `first` on, whatever the number of workers; without any, in here.

    Raises:
        Mistake: of a damaged file, or when a worker dies.
    """
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # without absl's own main, Grain's workers would crash
    import grain

    source = grain.MapDataset.source(chunks)
    source = source.repeat() if endless else source
    # A chunk is read and decoded as a whole: threads and buffers of Grain's own would only hold
    # more of them.
    dataset = source[first:].to_iter_dataset(grain.ReadOptions(0, 0))
    small = grain.experimental.DatasetOptions(min_shm_size=MOST_BY_PIPE)
    dataset = grain.experimental.WithOptionsIterDataset(dataset, small)
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=BUFFERED)
    dataset = dataset.mp_prefetch(options, partial(_begin, os.getpid()))
    with closing(iter(dataset)) as iterator:
        while True:
            try:
                yield next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if "terminated unexpectedly" not in str(error):
                    raise
                raise Mistake(
                    f"a data worker died ({error}): if memory ran out, give fewer --data.workers; "
                    "the same command goes on from the last checkpoint"
                ) from error


def _begin(trainer: int, _index: int, _count: int) -> None:
    """In a new worker: end when the trainer does, however it ends."""

    def watch() -> None:
        while os.getppid() == trainer:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    import cv2

    cv2.setNumThreads(0)  # the workers are the parallelism
