"""Loops in processes of their own, so that one library's threads do not slow another's."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection

from benchmarks.turns import Loop


@contextmanager
def apart(make: Callable[..., AbstractContextManager[Loop]], *arguments) -> Iterator[Loop]:
    """The loop that `make(*arguments)` gives there, to be called from here."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments))
    process.start()
    there.close()

    def loop(count: int) -> None:
        here.send(count)
        if failure := here.recv():
            raise RuntimeError(failure)

    try:
        yield loop
    finally:
        here.close()
        process.join()


def _serve(connection: Connection, make: Callable, arguments: tuple) -> None:
    """Take as many as the parent asks for, until it has gone."""
    try:
        with make(*arguments) as loop:
            while True:
                count = connection.recv()
                loop(count)
                connection.send("")
    except EOFError:
        pass
    except Exception:
        connection.send(traceback.format_exc())
