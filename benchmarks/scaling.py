"""Measure strong and weak scaling over the devices of this machine.

Strong: devices share a constant batch. Weak: each device keeps its share, and the batch grows. On
accelerators updates are timed, and efficiency is against one device. Simulated devices share a
CPU's cores, so the table shows the compiler's counts for one device instead of times. `--pods`
estimates the same for TPU pods that you do not have.

    python -m benchmarks.scaling --json scaling.json
    python -m benchmarks.scaling --pods v5e:2x2 v5e:4x4        needs pip install -e '.[pod]'
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Literal

import jax
from matplotlib.figure import Figure

from benchmarks.loops import Loops
from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import take_turns
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from jbatch.errors import Mistake
from jbatch.report.drawing import STYLES
from jbatch.run.start import open_run
from jbatch.text import byte_size

SIMULATED = 8
POD_EXPERIMENT = Path(__file__).parent.parent / "experiments" / "imagenet_resnet50.py"


@dataclass(frozen=True)
class Options(Common):
    """Measure strong and weak scaling over the devices of this machine."""

    networks: tuple[Literal[tuple(WORKLOADS)], ...] | None = None
    """Networks. None: the small CNN on simulated devices, WRN-16-4 and ResNet-50 on real ones."""
    batch: int = 1024
    """Batch size: of the strong scaling, and of the weak scaling with all devices."""
    pods: tuple[str, ...] = ("v5e:4x4",) if find_spec("libtpu") else ()
    """TPU slices to estimate ResNet-50 on; needs pip install -e '.[pod]'."""


def main(options: Options) -> Outcome:
    """Measure, or read the compiler's counts."""
    simulated = jax.devices()[0].platform == "cpu"
    networks = options.networks or (("cnn",) if simulated else ("wrn-16-4", "resnet-50"))
    counts = [2**power for power in range(jax.device_count().bit_length())]
    if options.quick:
        counts = sorted({counts[0], counts[-1]})
    if options.batch % (128 * counts[-1]):
        raise Mistake(f"--batch is {options.batch}: give a multiple of {128 * counts[-1]:,}")
    rows = []
    for name in networks:
        data = data_of(WORKLOADS[name])
        dtype = "float32" if simulated else "bfloat16"
        for kind in ("strong", "weak"):
            for count in counts:
                size = options.batch if kind == "strong" else options.batch // counts[-1] * count
                experiment = experiment_of(WORKLOADS[name], data, size, dtype=dtype)
                experiment = dataclasses.replace(experiment, micro_batch=size // count)
                found = _measured(experiment, count, options, timed=not simulated)
                rows.append(
                    {"network": name, "kind": kind, "devices": count, "batch": size} | found
                )
    for row in rows:
        [alone] = [
            other
            for other in rows
            if (other["network"], other["kind"], other["devices"])
            == (row["network"], row["kind"], 1)
        ]
        if row["seconds"] is not None:
            speed, one = (each["batch"] / each["seconds"] for each in (row, alone))
            row["efficiency"] = speed / one / row["devices"]
    pods = [_pod(pod) for pod in ([] if options.quick else options.pods)]
    pods = [pod for pod in pods if pod]
    tables = [Table(HEADER, [_cells(row) for row in rows])]
    if pods:
        tables.append(Table(PODS, [cells for pod in pods for cells in _pod_cells(pod)]))
    notes = ["These devices are simulated and share the machine's cores."] if simulated else []
    if pods:
        notes.append("Estimates for pods are a roofline of what the compiler counts.")
    else:
        notes.append("Pods are estimated with --pods, where the extra `pod` is installed.")
    return Outcome(tables, {"rows": rows, "pods": pods, "seeds": [0]}, notes, lambda: _figure(rows))


def _measured(experiment, count: int, options: Options, *, timed: bool) -> dict:
    with (
        tempfile.TemporaryDirectory() as directory,
        open_run(experiment, Path(directory) / "run", devices=jax.devices()[:count]) as opened,
    ):
        loops = Loops(opened)
        costs, seconds = loops.costs(), None
        if timed:
            windows, length = (2, 0.2) if options.quick else (7, 1.0)
            spent = take_turns({"trainer": loops.trainer}, windows, length)
            seconds = float(sorted(spent["trainer"])[len(spent["trainer"]) // 2])
    return {"seconds": seconds, "efficiency": None, **costs}


def _pod(name: str) -> dict | None:
    """Estimate as `jbatch plan --on` does; None if that failed with a message."""
    command = (sys.executable, "-m", "jbatch", "plan", POD_EXPERIMENT, "half-pod", "--on", name)
    done = subprocess.run((*command, "--json"), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return None
    return {"pod": name, **json.loads(done.stdout)}


HEADER = (
    *("network", "scaling", "devices", "batch", "each", "GFLOP each", "needs each", "all-reduces"),
    *("MiB reduced", "bytes an example", "examples/s", "efficiency"),
)
PODS = ("ResNet-50 on", "batch", "examples/s", "efficiency", "MiB reduced", "hours of the plan")


def _cells(row: dict) -> tuple[str, ...]:
    timed = row["seconds"] is not None
    return (
        row["network"],
        row["kind"],
        str(row["devices"]),
        f"{row['batch']:,}",
        f"{row['batch'] // row['devices']:,}",
        f"{row['flops'] / 1e9:,.3g}",
        byte_size(row["memory"]),
        str(row["reductions"]),
        f"{row['reduced'] / 2**20:.2f}",
        f"{row['reduced'] * (row['devices'] > 1) / row['batch']:,.0f}",
        f"{row['batch'] / row['seconds']:,.0f}" if timed else "",
        f"{row['efficiency']:.0%}" if timed else "",
    )


def _pod_cells(pod: dict) -> list[tuple[str, ...]]:
    return [
        (
            pod["pod"],
            f"{phase['batch_size']:,}",
            f"{phase['examples_per_second']:,.0f}",
            f"{phase['efficiency']:.0%}",
            f"{phase['reduced'] / 2**20:.1f}",
            f"{pod['estimate']['hours']:.2f}",
        )
        for phase in pod["estimate"]["phases"]
    ]


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    """Draw the efficiency if it was measured, else the work of one device."""
    timed = rows[0]["seconds"] is not None
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    lines = list(dict.fromkeys((row["network"], row["kind"]) for row in rows))
    for line, style in zip(lines, cycle(STYLES)):
        mine = [row for row in rows if (row["network"], row["kind"]) == line]
        values = [row["efficiency"] if timed else row["flops"] / 1e9 for row in mine]
        axes.plot(
            [row["devices"] for row in mine], values, marker="o", label=", ".join(line), **style
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("devices")
    axes.set_ylabel("efficiency against one device" if timed else "GFLOP of one device an update")
    axes.set_ylim(bottom=0)
    axes.legend()
    shown = "Examples/s of each device against one alone" if timed else "The work of each device"
    return f"{shown}, as the batch is shared (strong) or grows (weak).", figure


if __name__ == "__main__":
    if jax.config.jax_platforms in (None, "", "cpu"):  # CPUs only
        jax.config.update("jax_num_cpu_devices", SIMULATED)
    run(main, Options, __doc__)
