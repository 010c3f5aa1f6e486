"""Printing to a person, who may close the terminal or pipe at any time."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from jbatch.printable import printable

# The pipe has no reader any more, the terminal is gone, the descriptor is closed.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


def tell(text: str) -> None:
    """Print a line to stderr."""
    with while_read(sys.stderr):
        print(printable(text), file=sys.stderr, flush=True)


def show(text: object) -> None:
    """Print text to stdout; if nobody reads it any more, do nothing."""
    with while_read(sys.stdout):
        print(printable(str(text)), flush=True)


@contextmanager
def while_read(stream: TextIO) -> Iterator[None]:
    """Write to a stream; if nobody reads it any more, discard the text and continue."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE and stream is not sys.stderr:
            raise
        unread(stream)
    except ValueError:  # an experiment file closed it
        if not stream.closed:
            raise


def unread(stream: TextIO) -> None:
    """Discard the rest of a stream's buffer, and everything that is written to it later."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def open_all() -> None:
    """Open stdin, stdout and stderr to nowhere, if the command was started without them.

    Otherwise the next file that the command opens would take their place, and output would go into
    that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
            os.set_inheritable(number, True)  # for workers too
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
