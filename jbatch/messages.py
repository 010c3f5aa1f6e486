"""What a person is told."""

import os
import sys


def tell(text: str) -> None:
    """Print a line to stderr; when nobody reads that any more, the work goes on in silence."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # of a pipe, or of a terminal that was closed
        unread(sys.stderr)


def unread(stream) -> None:
    """Let what is left in a stream's buffer, and all that follows, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
