"""Asking the compiler's process, and showing how it goes on."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec

from jbatch.devices.memory import Memory
from jbatch.errors import Mistake
from jbatch.estimate.hlo_costs import Facts
from jbatch.estimate.worker import Call, Question, Work


def ask(
    question: Question, say: Callable[[str], None]
) -> tuple[int, dict[int, Work], dict[int, Work]]:
    """(chips, work of each batch size there, the same on one chip).

    Args:
        question: what to compile.
        say: told what is being compiled.

    Raises:
        Mistake: if the plan does not fit the chips, or libtpu is not installed.
    """
    if find_spec("libtpu") is None:
        raise Mistake(
            "--on compiles by libtpu, which is not installed: pip install -e '.[pod]' (in an "
            "environment of its own: JAX looks for TPUs wherever it is)"
        )
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",  # this machine is none of Google's
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # it keeps real TPUs from two processes; here is none
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe would be full at some time
        subprocess.Popen(
            [sys.executable, "-m", "jbatch.estimate.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process,
    ):
        process.stdin.write(json.dumps(asdict(question)))
        process.stdin.close()
        for text in process.stdout:
            line = json.loads(text)
            if "mistake" in line:
                raise Mistake(line["mistake"])
            if "answer" in line:
                found = line["answer"]
                return found["devices"], _work(found["work"]), _work(found["alone"])
            say(line["say"])
        process.wait()
        errors.seek(0)
        said = errors.read().strip().splitlines()
    raise RuntimeError(f"the compiler's process ended without an answer: {said[-1:]}")


def _work(found: dict) -> dict[int, Work]:
    return {
        int(size): Work(share, micro_batch, memory, [_call(*call) for call in calls])
        for size, (share, micro_batch, memory, calls) in found.items()
    }


def _call(times: int, facts: list) -> Call:
    *costs, memory = facts
    return Call(times, Facts(*costs, Memory(*memory)))
