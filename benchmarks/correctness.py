"""Check on this machine's devices that a run computes what it should.

A short run is trained again in another way, and the parameters are compared: the distance between
the two ends, over the distance that training moved them.

    passes     updates cut into passes of half their size
    pmap       mapped by pmap
    resumed    stopped at a checkpoint and resumed: not one bit may differ
    CPU        on the CPU, both in float32 (on an accelerator only)

    python -m benchmarks.correctness
"""

import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.run.loop import run_until
from jbatch.run.start import open_run
from jbatch.text import significant, text_table

SIZE, UPDATES = 256, 12
# Another order of float32 sums changes a gradient by about 1e-6 of its size, and kinks of a ReLU
# that a rounding crosses by some more. bfloat16 keeps 8 bits: a thousandth to a hundredth.
NEAR = {"float32": 1e-3, "bfloat16": 0.1}


@dataclass(frozen=True)
class Options(Common):
    """Check that a run computes what it should on these devices."""

    parameters: Path | None = None
    """Only train the CNN in float32, and write its parameters to this file (.npz)."""


def main(options: Options) -> Outcome:
    """Train in each way, and compare."""
    if options.parameters is not None:
        np.savez(options.parameters, *trained(_experiment("cnn", "float32")))
        return Outcome([], {})
    on_cpu = jax.devices()[0].platform == "cpu"
    kind = ("cnn", "float32") if on_cpu else ("wrn-16-4", "bfloat16")
    as_is = _experiment(*kind, micro_batch=SIZE)
    begun, ended = trained(as_is, 0), trained(as_is)
    rows = [
        _row("passes", as_is, begun, ended, trained(_experiment(*kind, micro_batch=SIZE // 2))),
        _row(
            "pmap",
            as_is,
            begun,
            ended,
            trained(_experiment(*kind, micro_batch=SIZE, mapping="pmap")),
        ),
        _row("resumed", as_is, begun, ended, trained(as_is, stop=5)),
    ]
    if not on_cpu:
        with jax.default_matmul_precision("highest"):
            full = _experiment("cnn", "float32")
            rows.append(_row("CPU", full, trained(full, 0), trained(full), _on_cpu()))
    table = Table(HEADER, [_cells(row) for row in rows])
    wrong = [row["way"] for row in rows if not row["difference"] <= row["most"]]
    if wrong:
        print(text_table(*table))
        raise Mistake(f"not the same run: {', '.join(wrong)}")
    return Outcome([table], {"rows": rows, "seeds": [0]})


def trained(experiment: Experiment, updates: int = UPDATES, *, stop: int = 0) -> list[np.ndarray]:
    """Return the parameters after so many updates; if `stop`, of a run that stopped there once."""
    with tempfile.TemporaryDirectory() as folder:
        for last in [stop, updates] if stop else [updates]:
            with open_run(experiment, Path(folder) / "run", devices=jax.devices()[:1]) as opened:
                run_until(opened, last)
                if last == stop:
                    opened.checkpoints.save(opened.examples, opened.state)
                    opened.checkpoints.wait()
                found = [np.asarray(leaf) for leaf in jax.tree.leaves(opened.state.params)]
    return found


def _experiment(name: str, dtype: str, **changes) -> Experiment:
    workload = WORKLOADS[name]._replace(held=SIZE * UPDATES)
    return experiment_of(workload, data_of(workload), SIZE, dtype=dtype, **changes)


def _on_cpu() -> list[np.ndarray]:
    """Train in a process that sees no accelerator."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parameters.npz"
        command = (sys.executable, "-m", "benchmarks.correctness", "--parameters", str(path))
        subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True)
        with np.load(path) as found:
            return list(found.values())


def _row(way: str, of: Experiment, begun: list, ended: list, other: list) -> dict:
    """Compare the ends of two runs."""
    moved, apart = (
        math.sqrt(sum(float(np.sum(np.square(a - b, dtype=np.float64))) for a, b in pairs))
        for pairs in (zip(ended, begun, strict=True), zip(ended, other, strict=True))
    )
    most = 0.0 if way == "resumed" else NEAR[of.task.dtype]
    return {
        "way": way,
        "network": type(of.task.model).__name__,
        "dtype": of.task.dtype,
        "difference": apart / moved,
        "most": most,
    }


HEADER = ("way", "network", "dtype", "difference", "at most")


def _cells(row: dict) -> tuple[str, ...]:
    return (
        *(row["way"], row["network"], row["dtype"]),
        *(significant(row[key], 2) for key in ("difference", "most")),
    )


if __name__ == "__main__":
    run(main, Options, __doc__)
