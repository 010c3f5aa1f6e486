"""What a person is told, for as long as somebody reads it."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from jbatch.printable import printable

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # a pipe's reader, a terminal, a closed descriptor


def tell(text: str) -> None:
    """Print a line to stderr."""
    with while_read(sys.stderr):
        print(printable(text), file=sys.stderr, flush=True)


def show(text: object) -> None:
    """Print text to stdout, of work that counts without it."""
    with while_read(sys.stdout):
        print(printable(str(text)), flush=True)


@contextmanager
def while_read(stream) -> Iterator[None]:
    """Write to a stream; when nobody reads it any more, the work goes on in silence."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE and stream is not sys.stderr:
            raise
        unread(stream)
    except ValueError:  # an experiment file closed it
        if not stream.closed:
            raise


@contextmanager
def cleaned_stderr() -> Iterator[None]:
    """Print what a library writes to stderr at its end: it may quote any character."""
    written = io.StringIO()
    try:
        with redirect_stderr(written):
            yield
    finally:
        if text := written.getvalue().rstrip():
            tell(text)


def unread(stream) -> None:
    """Let what is left in a stream's buffer, and all that follows, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def open_all() -> None:
    """Open what a command was started without of stdin, stdout and stderr, to nowhere.

    The next file that it opens would take that place, and what is printed would go there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest place that is free
            os.set_inheritable(number, True)  # for workers too
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
