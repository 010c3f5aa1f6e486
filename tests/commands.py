"""jbatch commands as a person runs them, in processes of their own."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import jax

from jbatch.run.build import make_setup
from jbatch.run.checkpoint import Checkpoints, parameters_digest
from jbatch.run.directory import read_run
from jbatch.run.reopen import remake
from jbatch.step import programs

TINY = Path(__file__).parent / "tiny.py"
FAULTS = TINY.with_name("faults.py")


def environment_of(devices: int) -> dict[str, str]:
    """Of a process with so many devices."""
    return os.environ | {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", f"count={devices}"),
        # The second, of the cache of compiled functions, as in setup.cfg.
        "PYTHONWARNINGS": "error::RuntimeWarning,ignore::UserWarning:jax._src.compiler",
        # Experiment files there share tiny.py.
        "PYTHONPATH": os.pathsep.join((str(TINY.parent), os.environ.get("PYTHONPATH", ""))),
    }


def start(*arguments, devices=1, new_group=False, terminal=None, **environment) -> subprocess.Popen:
    """`jbatch …` under way, with further variables in its environment; at a terminal, if given."""
    return subprocess.Popen(
        [sys.executable, "-m", "jbatch", *map(str, arguments)],
        stdout=terminal or subprocess.PIPE,
        stderr=terminal or subprocess.PIPE,
        text=True,
        env=environment_of(devices) | environment,
        start_new_session=new_group,
    )


def run(*arguments, devices=1) -> str:
    """What a command prints; it must succeed."""
    code, out, err = end(start(*arguments, devices=devices))
    assert code == 0, err
    return out


def end(process: subprocess.Popen) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command, which has long to end on a busy machine."""
    try:
        out, err = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it does not end; it said: {process.communicate()}") from None
    return process.returncode, out, err


def start_all(count, *arguments, devices=8, each=((), ()), **environment):
    """`jbatch train` in `count` processes; `each` has further arguments of single ones."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cluster = ("--distributed", "--coordinator", f"localhost:{port}", "--num-processes", count)
    return [
        start(
            *("train", *arguments, *cluster, "--process-id", process),
            *(each[process] if process < len(each) else ()),
            devices=devices // count,
            **environment,
        )
        for process in range(count)
    ]


def end_all(processes) -> list[tuple[int, str, str]]:
    return [end(process) for process in processes]


def newest(directory: Path) -> tuple[int, str]:
    """(updates taken, digest of the parameters) of a run's newest checkpoint, a whole one."""
    _, _, experiment = remake(directory)
    plan = experiment.make_plan()
    setup, _ = make_setup(experiment, plan, jax.devices()[:1])
    said = []
    run_id = read_run(directory)["id"]
    folder = directory / "checkpoints"
    with closing(Checkpoints(folder, said.append, run_id, read_only=True)) as found:
        examples, state = found.restore(programs.state_on_devices(setup))
    assert not said
    return plan.update_at(examples), parameters_digest(state.params)
