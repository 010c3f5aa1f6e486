"""Measure updates per second of the trainer's own loop, against the bare step.

Three loops over the same network, batch size and data take turns in one process:

    trainer    jbatch's loop: plan look-up, order of each epoch, logging, checkpoints, signals
    bare       the same compiled functions, with their indexing and augmentation, called in a plain
               loop: a call for each update or pass, donated state and nothing else
    prebuilt   the update on prepared float32 batches; the difference to `bare` is the input's cost

Speeds are medians over windows of about half a second. A ratio is the median of the windows'
ratios, so that a drift of the machine's speed cancels. No window contains compilation. Utilization
is the FLOPs of the network's products over the rate of a large matrix product.

    python -m benchmarks.updates_per_second --json updates_per_second.json
"""

import math
import tempfile
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import peaks
from benchmarks.loops import Loops
from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import ratio, take_turns
from benchmarks.workloads import FOR_CPUS, WORKLOADS, data_of, experiment_of
from jbatch.devices import meshes
from jbatch.errors import whole
from jbatch.report.drawing import STYLES
from jbatch.run.start import open_run
from jbatch.task.classify import Dtype
from jbatch.text import byte_size, significant

Network = Literal[tuple(WORKLOADS)]


@dataclass(frozen=True)
class Options(Common):
    """Measure updates per second of the trainer's own loop, against the bare step."""

    networks: tuple[Network, ...] | None = None
    """Networks. None: all; on CPUs the three smallest."""
    sizes: tuple[int, ...] | None = None
    """Batch sizes. None: each network's own."""
    dtypes: tuple[Dtype, ...] | None = None
    """Floating-point type. None: bfloat16; on CPUs float32."""
    mappings: tuple[Literal["shard_map", "pmap"], ...] = ("shard_map",)
    """Ways to map the step over devices; one row for each."""
    windows: int = 9
    """Windows of each loop."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    on_cpu = meshes.all_devices()[0].platform == "cpu"
    networks = options.networks or (FOR_CPUS if on_cpu else tuple(WORKLOADS))
    dtypes = options.dtypes or (("float32",) if on_cpu else ("bfloat16",))
    if options.quick:
        networks = options.networks or ("mlp", "cnn")
    rows = []
    for name in networks:
        workload = WORKLOADS[name]
        data = data_of(workload)
        sizes = options.sizes or ((32, 128, 640) if options.quick else workload.sizes)
        for size, dtype, mapping in product(sizes, dtypes, options.mappings):
            experiment = experiment_of(workload, data, size, dtype=dtype, mapping=mapping)
            row = {"network": name, "batch_size": size, "dtype": dtype, "mapping": mapping}
            rows.append(row | measure(experiment, workload.epoch, options))
            print(f"{name}, batch {size:,}: trainer/bare {rows[-1]['ratio'][0]:.3f}", flush=True)
    ratios = {
        f"trainer/bare, {row['network']}, batch {row['batch_size']}, {row['dtype']}, "
        f"{row['mapping']}": row["ratio"]
        for row in rows
    }
    return Outcome(
        [
            Table(SPEEDS, [_speeds(row) for row in rows]),
            Table(COSTS, [_costs(row) for row in rows]),
        ],
        {
            "rows": rows,
            "windows": options.windows,
            "seeds": [0],
            "ratios": ratios,
            "peak": peaks.flops(jax.devices()[0], dtypes[0]),
        },
        figure=lambda: _figure(rows),
    )


def measure(experiment, epoch: int, options: Options) -> dict:
    """Return one row."""
    windows, seconds = (3, 0.1) if options.quick else (options.windows, 0.5)
    with (
        tempfile.TemporaryDirectory() as directory,
        open_run(experiment, Path(directory) / "run") as opened,
    ):
        loops = Loops(opened)
        costs = loops.costs()
        compared = {"bare": loops.bare, "trainer": loops.trainer, "prebuilt": loops.prebuilt}
        spent = take_turns(
            {name: loop for name, loop in compared.items() if loop}, windows, seconds
        )
        layout = loops.layouts[0]
    size = experiment.plan.batch_size
    fastest = {name: float(np.median(values)) for name, values in spent.items()}
    device = jax.devices()[0]
    peak = peaks.flops(device, experiment.task.dtype)
    if device.platform != "cpu":  # there, one device alone reaches what all cores do
        peak *= layout.devices
    costs["flops"] *= layout.devices
    return {
        **{f"{name}_seconds": value for name, value in fastest.items()},
        "examples_per_second": size / fastest["trainer"],
        "epoch_seconds": epoch / size * fastest["trainer"],
        "micro_batch": layout.per_device,
        "ratio": ratio(spent, "trainer", "bare"),
        "prebuilt_ratio": ratio(spent, "prebuilt", "bare") if "prebuilt" in spent else None,
        "utilization": costs["flops"] / fastest["trainer"] / peak,
        **costs,
    }


SPEEDS = (
    *("network", "batch", "dtype", "mapping", "updates/s", "examples/s", "ms an update"),
    *("s an epoch", "trainer/bare", "quartiles", "prebuilt/bare"),
)
COSTS = (
    *("network", "batch", "dtype", "mapping", "micro-batch", "GFLOP an update", "utilization"),
    *("needs", "compile s"),
)


def _speeds(row: dict) -> tuple[str, ...]:
    seconds, prebuilt = row["trainer_seconds"], row["prebuilt_ratio"]
    return (
        *_name(row),
        f"{1 / seconds:,.1f}",
        f"{row['examples_per_second']:,.0f}",
        significant(1e3 * seconds, 3),
        significant(row["epoch_seconds"], 3),
        *row["ratio"].cells(3),
        f"{prebuilt.median:.2f}" if prebuilt else "",
    )


def _costs(row: dict) -> tuple[str, ...]:
    known = math.isfinite(row["flops"])
    return (
        *_name(row),
        f"{row['micro_batch']:,}",
        significant(row["flops"] / 1e9, 3) if known else "",
        f"{row['utilization']:.0%}" if known else "",
        byte_size(row["memory"]),
        f"{row['compile_seconds']:.1f}",
    )


def _name(row: dict) -> tuple[str, ...]:
    return row["network"], f"{row['batch_size']:,}", row["dtype"], row["mapping"]


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    """Draw Lee's two curves: time of an update and of an epoch against batch size."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    kinds = list(dict.fromkeys((row["network"], row["dtype"], row["mapping"]) for row in rows))
    panels = {"trainer_seconds": "seconds an update", "epoch_seconds": "seconds an epoch"}
    for axes, (key, label) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for kind, style in zip(kinds, cycle(STYLES)):
            mine = [row for row in rows if (row["network"], row["dtype"], row["mapping"]) == kind]
            sizes = [row["batch_size"] for row in mine]
            label_of = ", ".join(kind) if len(rows) > len(mine) else ""
            axes.loglog(sizes, [row[key] for row in mine], marker="o", label=label_of, **style)
        axes.set_xlabel("batch size, examples")
        axes.set_ylabel(label)
    if len(kinds) > 1:
        axes.legend()
    return "What an update takes, and an epoch of each network's own data, by batch size.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
