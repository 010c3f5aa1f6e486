"""The roofline that `jbatch plan --on` draws, against what a device here really takes.

Updates of the paper's networks are compiled for the first device; the compiler's counts over peaks
make the estimate, and the same compiled update is timed in a plain loop. Peaks are measured (a
matrix product, a copy), and for known accelerators those published stand beside them.

    python -m benchmarks.estimate --json estimate.json
"""

import dataclasses
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jbatch import compile
from jbatch.assemble import paper_setup
from jbatch.choose import zeros
from jbatch.compile import how, told
from jbatch.experiment_file import load_experiment_file
from jbatch.layout import Layout, group_size
from jbatch.memory import available, readable
from jbatch.models import ghost_batch
from jbatch.pod.facts import facts_of
from jbatch.run_directory import environment
from jbatch.tables import text_table

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
class Options:
    """Estimates against measurements, on the first device."""

    json: Path | None = None
    """Write the figures here."""
    networks: tuple[str, ...] = tuple(UPDATES)
    """Which of them."""
    dtype: str = "bfloat16"
    """That they compute in."""
    quick: bool = False
    """The smallest batch of each only, few repetitions."""


def main(options: Options) -> dict:
    """Measure, print and write; the figures."""
    device = jax.devices()[0]
    flops, bandwidth = peaks(device, options.dtype)
    published = PUBLISHED.get(device.device_kind)
    rows = []
    for name in options.networks:
        file, variant, sizes = UPDATES[name]
        for size in sizes[:1] if options.quick else sizes:
            peak = published or (flops, bandwidth)
            rows.append({"network": name, **_row(file, variant, size, options, peak)})
    print(f"measured peaks: {flops / 1e12:.3g} TFLOP/s, {bandwidth / 1e9:.3g} GB/s")
    used = f"published ones of a {device.device_kind}" if published else "these"
    print(f"estimated by {used}:\n")
    print(text_table(HEADER, [_cells(row) for row in rows]))
    found = {
        "environment": environment(),
        "measured_peaks": {"flops": flops, "bandwidth": bandwidth},
        "published_peaks": published,
        "memory": available(device),
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return found


def peaks(device: jax.Device, dtype: str) -> tuple[float, float]:
    """(FLOP/s of a large matrix product, bytes/s of a large copy) of a device."""
    side = 1024 if device.platform == "cpu" else 8192
    matrix = jax.device_put(jnp.ones((side, side), dtype), device)
    product = jax.jit(lambda a: a @ a)
    words = jax.device_put(jnp.ones(side * side * 16, jnp.float32), device)
    copy = jax.jit(lambda a: a + 1)
    flops = 2 * side**3 / _seconds(lambda: product(matrix), 10)
    return flops, 2 * words.nbytes / _seconds(lambda: copy(words), 10)


def _row(file: str, variant: str, size: int, options: Options, peak: tuple[float, float]) -> dict:
    experiment = load_experiment_file(EXPERIMENTS / file).variant(variant)
    experiment = dataclasses.replace(experiment, dtype=options.dtype)
    setup = paper_setup(experiment, experiment.plan.plan(), jax.devices()[:1])
    layout = Layout(size, 1, group_size(size, ghost_batch(experiment.model)))
    update = compile.update(setup, layout)
    facts = facts_of(update.compiled)
    state = compile.initializer(setup)(np.uint32(0))
    inputs, hows = zeros(setup, layout), told(setup, [how(0.0, size, layout.groups)])

    def once():
        nonlocal state
        state, loss = update(state, hows, *inputs)
        return loss

    measured = _seconds(once, 2 if options.quick else 20)
    estimated = max(facts.flops / peak[0], facts.accessed / peak[1])
    return {
        "batch": size,
        "flops": facts.flops,
        "accessed": facts.accessed,
        "memory": facts.memory.total,
        "estimated": estimated,
        "measured": measured,
        "examples_per_second": size / measured,
        "utilization": facts.flops / measured / peak[0],
    }


def _seconds(function, count: int) -> float:
    """Of one call: the median of three runs of so many, after one."""
    jax.block_until_ready(function())
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(count):
            result = function()
        jax.block_until_ready(result)
        spent.append((time.perf_counter() - begun) / count)
    return statistics.median(spent)


def _cells(row: dict) -> tuple[str, ...]:
    return (
        row["network"],
        f"{row['batch']:,}",
        f"{row['flops'] / 1e9:,.4g}",
        f"{row['accessed'] / 1e9:,.3g}",
        readable(row["memory"]),
        f"{1e3 * row['estimated']:,.3g}",
        f"{1e3 * row['measured']:,.3g}",
        f"{row['measured'] / row['estimated']:.2f}",
        f"{row['examples_per_second']:,.0f}",
        f"{row['utilization']:.0%}",
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
