"""Ask the compiler's process for an estimate, and show its progress."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from jbatch.errors import Mistake
from jbatch.estimate.gpus import GPUS
from jbatch.estimate.hlo_costs import stored_facts
from jbatch.estimate.worker import Call, Question, Work


def ask(
    question: Question, say: Callable[[str], None]
) -> tuple[int, dict[int, Work], dict[int, Work]]:
    """Compile a plan: (chips, work of each batch size on them, the same on one chip).

    Args:
        question: what to compile.
        say: called with each line of progress.

    Raises:
        Mistake: if the plan does not fit in the chips' memory, or their compiler is not installed.
    """
    on_gpus = question.topology.partition(":")[0] in GPUS
    if find_spec("jax_cuda12_plugin" if on_gpus else "libtpu") is None:
        compiler, extra = ("JAX's plugin for CUDA", "pod-gpu") if on_gpus else ("libtpu", "pod")
        raise Mistake(
            f"--on {question.topology} compiles with {compiler}, which is not installed: "
            f"pip install -e '.[{extra}]' (in a separate environment, since JAX looks for "
            "such devices wherever it is installed)"
        )
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",  # this machine is not a TPU VM
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # the lock protects real TPUs; here is none
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe that nobody reads fills up and blocks
        subprocess.Popen(
            [sys.executable, "-m", "jbatch.estimate.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdin is not None  # a pipe
        assert process.stdout is not None
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


def _work(found: dict[str, Any]) -> dict[int, Work]:
    return {
        int(size): Work(share, micro_batch, memory, [_call(*call) for call in calls])
        for size, (share, micro_batch, memory, calls) in found.items()
    }


def _call(times: int, facts: list[Any]) -> Call:
    return Call(times, stored_facts(facts))
