"""Loops in processes of their own, so that one library's threads do not slow another's."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection

from benchmarks.turns import Loop

SECONDS_TO_END = 30


class Failed(Exception):
    """What has gone wrong there."""


@contextmanager
def apart(make: Callable[..., AbstractContextManager[Loop]], *arguments) -> Iterator[Loop]:
    """The loop that `make(*arguments)` gives there, to be called from here; it is ready.

    Raises:
        Failed: if it cannot be made, or fails later.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
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
    """Take as many as the parent asks for, until it has gone."""
    # Several share a GPU: none may take most of its memory at once.
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
