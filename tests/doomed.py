"""The tiny experiment, for a process that dies by its own hand at the moment that DIE names.

SIGKILL is sent from within, so that it meets the run just there; or, as a `notice`, SIGTERM.
"""

import os
import signal
import time
from itertools import count

from jbatch.data.resident import ResidentTest
from jbatch.run.checkpoint import Checkpoints
from jbatch.run.metrics import MetricsLog
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from tiny import variants

__all__ = ["variants"]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def replace_call(owner, name, number, other):
    """Have other(function, *arguments) take the place of one call of a function."""
    function, calls = getattr(owner, name), count(1)

    def wrapped(*arguments):
        if next(calls) == number:
            return other(function, *arguments)
        return function(*arguments)

    setattr(owner, name, wrapped)


def dispatched(update, driver, state, rows):
    update(driver, state, rows)
    die()


def begun(save, checkpoints, examples, state):
    os.rename = os.replace = lambda *_: die()  # by which Orbax finishes a checkpoint
    save(checkpoints, examples, state)  # returns while the files are being written
    time.sleep(60)


def noticed(save, checkpoints, examples, state):
    save(checkpoints, examples, state)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)  # in which JAX makes out with the other processes where to stop


def first_pass(passes, test):
    yield next(passes(test))
    die()


def half_a_line(write, log, line):
    log._file.write(str(line)[:20])
    log._file.flush()
    die()


match os.environ.get("DIE"):
    case "update":
        replace_call(Driver, "update", 5, dispatched)
    case "save":
        replace_call(Checkpoints, "save", 2, begun)
    case "notice":
        replace_call(Checkpoints, "save", 2, noticed)
    case "phase change":
        known = Ahead.program
        Ahead.program = lambda ahead, size: known(ahead, size) if size == 40 else die()
    case "evaluation":
        replace_call(ResidentTest, "passes", 3, first_pass)
    case "log":
        replace_call(MetricsLog, "write", 4, half_a_line)
