"""The tiny experiment, in which what FAULT names happens.

Some faults concern one process alone: of two, the second, if nothing else is said.
"""

import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from flax import nnx

import jbatch
from jbatch import files
from jbatch.distributed import agree
from jbatch.run import checkpoint
from jbatch.testing import at
from tiny import variants

set_limit = pytest.MonkeyPatch().setattr  # which refuses a name that is gone
file_sizes = resource.getrlimit(resource.RLIMIT_FSIZE)


def second():
    return jax.process_index() == 1


def die(*_):
    """Kill this process from within, so that the signal arrives exactly here."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_on_rename(_):
    os.rename = os.replace = die  # not a point of ours: Orbax finishes a checkpoint so


def notice(_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)  # in which JAX agrees with the other processes where to stop


def write_half_a_line(file):
    file.write('{"kind": "train", "u')
    file.flush()
    die()


def fill(_):
    free = shutil.disk_usage(".").free
    Path("filler").write_bytes(bytes(free - int(os.environ["FREE"])))


def empty(_):
    Path("filler").unlink()


def cramp(_):
    if jax.process_index() == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, file_sizes[1]))


def wait_and_uncramp(checkpoints):
    try:
        checkpoints.wait()  # it fails, and fails the save; the next line of metrics has room
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, file_sizes)


def be_late(mesh):
    set_limit(agree, "EXCHANGE_SECONDS", float(os.environ["PATIENCE"]))
    time.sleep(float(os.environ["SECONDS"]) * second())
    return mesh


class FewerGreys(jbatch.Digits):
    """Calls itself Digits, and loads others."""

    def load(self):
        loaded = super().load()
        return loaded._replace(train=loaded.train | {"image": loaded.train["image"] % 16})


FewerGreys.__name__ = "Digits"

match os.environ.get("FAULT"):
    case None:
        pass
    case "update":
        at("update dispatched", die, 5)
    case "held":  # there it can be killed, or asked to stop, at leisure
        at("update dispatched", lambda _: time.sleep(10**6), int(os.environ["CALL"]))
    case "save":
        at("save begins", die_on_rename, 2)
        at("save under way", lambda _: time.sleep(60), 2)
    case "phase change":
        at("phase begins", die, 2)
    case "evaluation":
        at("pass evaluated", die, 5)  # the first of two in the third evaluation
    case "log":
        at("metrics line", write_half_a_line, 4)
    case "notice":  # in all processes
        at("save under way", notice, 2)
    case "full disk":  # from one save to another, as SAVES=2-4 says, but for FREE bytes
        first, last = map(int, os.environ["SAVES"].split("-"))
        at("save begins", fill, first)
        at("save begins", empty, last)
    case "no room for one host's files":  # the first's, in one save
        set_limit(checkpoint, "SAVE_SECONDS", 20)
        at("save begins", cramp, 2)
        at("save under way", wait_and_uncramp, 2)
    case "late":  # so many SECONDS, and waited for with so much PATIENCE
        set_limit(agree, "SECONDS_BETWEEN_WORDS", 1)
        at("mesh", be_late, 1)
    case "files that do not appear":
        set_limit(files, "SECONDS_TO_APPEAR", 2)
    case "other data":
        if second():
            variants = {name: replace(it, data=FewerGreys()) for name, it in variants.items()}
    case "other version":
        if second():  # with its metadata in the folder ELSEWHERE
            metadata = Path(os.environ["ELSEWHERE"]) / "optax-1.2.3.dist-info" / "METADATA"
            metadata.parent.mkdir()
            metadata.write_text("Name: optax\nVersion: 1.2.3\n")
            sys.path.insert(0, os.environ["ELSEWHERE"])
    case "other program":
        if second():
            nnx.relu = nnx.gelu  # not a point of ours: another version of flax may do so
    case unknown:
        raise ValueError(unknown)
