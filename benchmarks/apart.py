"""Run loops in separate processes, so that one library's threads do not slow another's."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing.connection import Connection

from benchmarks.turns import Loop
from jbatch.devices.malloc import huge_pages

SECONDS_TO_END = 30


class Failed(Exception):
    """Signal an error in the other process."""


@contextmanager
def as_trained() -> Iterator[None]:
    """Let the processes that start meanwhile have the memory that those of `jbatch train` have."""
    needed = huge_pages()
    os.environ.update(needed)
    try:
        yield
    finally:
        for name in needed:
            del os.environ[name]


@contextmanager
def apart(
    make: Callable[..., AbstractContextManager[Loop]], *arguments, peer: bool = True
) -> Iterator[Loop]:
    """Make the loop `make(*arguments)` in another process, and yield a function that runs it.

    A peer's process is as Python starts it; another is as those of `jbatch train`.

    Raises:
        Failed: if it cannot be made, or fails later.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
    with nullcontext() if peer else as_trained():
        process.start()
    there.close()

    def answered() -> None:
        try:
            failure = here.recv()
        except EOFError:
            process.join()
            failure = f"{make.__name__} ended with {process.exitcode}"
        if failure:
            raise Failed(failure)

    def loop(count: int) -> None:
        here.send(count)
        answered()

    try:
        answered()
        yield loop
    finally:
        here.close()
        process.join(SECONDS_TO_END)
        process.kill()


def _serve(connection: Connection, make: Callable, arguments: tuple) -> None:
    """Run the loop as often as the parent asks, until the parent ends."""
    # Several processes share a GPU: without this, the first takes most of its memory.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    try:
        with make(*arguments) as loop:
            connection.send("")
            while True:
                loop(connection.recv())
                connection.send("")
    except (EOFError, BrokenPipeError):
        pass
    except Exception:
        connection.send(traceback.format_exc())
