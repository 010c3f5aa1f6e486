"""Compare the roofline of `jbatch plan --on` with measured times on this machine's device.

jbatch compiles updates of the paper's networks for the first device. The estimate is the FLOPs of
the network's products and the compiler's count of bytes, over the device's peaks; the time is of
the same compiled update in a plain loop. Peaks are measured (a matrix product, a copy). For known
accelerators the table also shows the published ones.

    python -m benchmarks.estimate --json estimate.json
"""

import dataclasses
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import peaks
from benchmarks.outcome import Common, Outcome, Table, run
from jbatch.devices.memory import available
from jbatch.estimate.hlo_costs import facts_of
from jbatch.plan.layout import Layout, group_size
from jbatch.plan.passes import Update
from jbatch.report.drawing import STYLES
from jbatch.run.build import paper_setup
from jbatch.run.reopen import load_experiment_file
from jbatch.step import flops, programs
from jbatch.step.programs import how, told
from jbatch.step.timing import zeros
from jbatch.task.classify import Dtype
from jbatch.text import byte_size

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
UPDATES = {  # file, variant, and batch sizes
    "WRN-16-4": ("cifar10_annealing.py", "momentum-decaying", (128, 640, 3200)),
    "ResNet-50": ("imagenet_resnet50.py", "half-pod", (64, 128, 256)),
}
PUBLISHED = {  # dense bfloat16 FLOP/s and bytes/s: NVIDIA's data sheets
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA H200": (989e12, 4.8e12),
}
HEADER = (
    *("network", "batch", "GFLOP", "GB accessed", "needs", "estimated ms", "measured ms"),
    *("measured / estimated", "examples/s", "of peak"),
)


@dataclasses.dataclass(frozen=True)
class Options(Common):
    """Compare estimates with measurements, on the first device."""

    networks: tuple[Literal[tuple(UPDATES)], ...] | None = None
    """Networks. None: both; on CPUs only WRN-16-4."""
    dtype: Dtype | None = None
    """Floating-point type. None: bfloat16; on CPUs float32."""


def main(options: Options) -> Outcome:
    """Measure; with --quick only the smallest batch of each network."""
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    dtype = options.dtype or ("float32" if on_cpu else "bfloat16")
    networks = options.networks or (("WRN-16-4",) if on_cpu else tuple(UPDATES))
    flops, bandwidth = peaks.flops(device, dtype), peaks.bandwidth(device)
    published = PUBLISHED.get(device.device_kind)
    rows = []
    for name in networks:
        file, variant, sizes = UPDATES[name]
        for size in sizes[:1] if options.quick or on_cpu else sizes:
            peak = published or (flops, bandwidth)
            rows.append({"network": name, **_row(file, variant, size, dtype, peak, options)})
    notes = [f"measured peaks: {flops / 1e12:.3g} TFLOP/s, {bandwidth / 1e9:.3g} GB/s"]
    used = f"published ones of a {device.device_kind}" if published else "these"
    notes.append(f"estimated by {used}")
    found = {
        "seeds": [0],
        "measured_peaks": {"flops": flops, "bandwidth": bandwidth},
        "published_peaks": published,
        "memory": available(device),
        "rows": rows,
    }
    table = Table(HEADER, [_cells(row) for row in rows])
    return Outcome([table], found, notes, lambda: _figure(rows))


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, key in enumerate(("estimated", "measured")):
        places = [place + (number - 0.5) * 0.4 for place in range(len(rows))]
        color = STYLES[number]["color"]
        axes.bar(places, [1e3 * row[key] for row in rows], 0.36, label=key, color=color)
    axes.set_xticks(range(len(rows)), [f"{row['network']}\n{row['batch']:,}" for row in rows])
    axes.set_ylabel("ms an update")
    axes.legend()
    return "The roofline of an update, and what it takes.", figure


def _row(
    file: str, variant: str, size: int, dtype: str, peak: tuple[float, float], options: Options
) -> dict:
    experiment = load_experiment_file(EXPERIMENTS / file).variant(variant)
    task = dataclasses.replace(experiment.task, dtype=dtype)
    experiment = dataclasses.replace(experiment, task=task)
    setup = paper_setup(experiment, experiment.make_plan(), jax.devices()[:1])
    layout = Layout(size, 1, group_size(size, task.group))
    update = programs.compiled(setup, Update(layout))
    facts = facts_of(update.compiled)
    state = programs.initializer(setup)(np.uint32(0))
    inputs, hows = zeros(setup, layout), told(setup, [how(0.0, layout.groups, size)])

    def once():
        nonlocal state
        state, loss = update(state, hows, *inputs)
        return loss

    measured = peaks.seconds(once, 1 if options.quick else 5)
    counted = flops.of_pass(setup.learner, layout)
    estimated = max(counted / peak[0], facts.accessed / peak[1])
    return {
        "batch": size,
        "flops": counted,
        "accessed": facts.accessed,
        "memory": facts.memory.total,
        "estimated": estimated,
        "measured": measured,
        "examples_per_second": size / measured,
        "utilization": counted / measured / peak[0],
    }


def _cells(row: dict) -> tuple[str, ...]:
    return (
        row["network"],
        f"{row['batch']:,}",
        f"{row['flops'] / 1e9:,.4g}",
        f"{row['accessed'] / 1e9:,.3g}",
        byte_size(row["memory"]),
        f"{1e3 * row['estimated']:,.3g}",
        f"{1e3 * row['measured']:,.3g}",
        f"{row['measured'] / row['estimated']:.2f}",
        f"{row['examples_per_second']:,.0f}",
        f"{row['utilization']:.0%}",
    )


if __name__ == "__main__":
    run(main, Options, __doc__)
