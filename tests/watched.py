"""A report that a test watches."""

import threading
from contextlib import contextmanager

from jbatch.report import watch as watching


@contextmanager
def watched(directory, monkeypatch):
    """Serve a directory's report in a thread: its port."""
    monkeypatch.setattr(watching, "LOOK", 0.02)
    monkeypatch.setattr(watching, "SHARE", 0.9)
    ended, ready, address = threading.Event(), threading.Event(), []

    def serving(at):
        address.append(at)
        ready.set()

    thread = threading.Thread(target=watching.watch, args=(directory, None, None, ended, serving))
    thread.start()
    try:
        assert ready.wait(60)
        yield int(address[0].rstrip("/").rpartition(":")[2])
    finally:
        ended.set()
        thread.join()
