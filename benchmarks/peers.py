"""Compare jbatch with loops in flax and PyTorch, which take turns in separate processes.

All have the same network, batch size, data and optimizer (momentum, weight decay, no augmentation).
Each peer is written as its expert users write it:

    flax          in the manner of flax's official examples: nnx.jit, batches from the host
    torch         PyTorch, eager: data on the device, channels last, a fused optimizer
    compiled      the same under torch.compile
    MultiSteps    for batches of several micro-batches: optax.MultiSteps in the flax loop

For the GPT, flax and torch are nanoGPT's loop (`benchmarks.gpt`), and its speed is in tokens.

jbatch picks its own micro-batch and updates per call. The peers' batch norm is over their whole
batch, and jbatch's over ghost batches of 128. The peers decay all parameters; jbatch leaves out
norms and biases. On CPUs jbatch's process keeps freed memory and has huge pages, as those of
`jbatch train`. On accelerators all compute in bfloat16. PyTorch is measured if it is installed.

    python -m benchmarks.peers --json peers.json
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from benchmarks import gpt, peer_flax, peer_flax_gpt
from benchmarks.apart import Failed, apart
from benchmarks.loops import Loops
from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import Loop, ratio, take_turns
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from jbatch.data.image.augment import Augment
from jbatch.devices import meshes
from jbatch.errors import whole
from jbatch.experiment.experiment import Experiment
from jbatch.machine import usable_cores
from jbatch.report.drawing import STYLES
from jbatch.run.start import open_run

SIZES = {
    "mlp": (32, 128, 640),
    "cnn": (128, 640, 3200),
    "wrn-16-4": (128,),
    "resnet-50": (128, 256),
    "gpt": (12, 64),
}
MICRO_BATCH, TIMES = 128, 16  # of the accumulated updates


@dataclass(frozen=True)
class Options(Common):
    """Compare jbatch with loops in flax and PyTorch."""

    networks: tuple[Literal[tuple(SIZES)], ...] | None = None
    """Networks. None: the MLP, the CNN, WRN-16-4 and the GPT; on GPUs ResNet-50, no MLP and CNN."""
    windows: int = 7
    """Windows of each loop."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    on_cpu = meshes.all_devices()[0].platform == "cpu"
    networks = options.networks or (
        ("mlp", "cnn", "wrn-16-4", "gpt") if on_cpu else ("wrn-16-4", "resnet-50", "gpt")
    )
    if options.quick:
        networks = options.networks or ("mlp", "cnn")
    rows = []
    for name in networks:
        for size in SIZES[name][:1] if options.quick else SIZES[name]:
            rows += measure(name, size, options)
            print(f"{name}, batch {size:,}: done", flush=True)
    accumulated = accumulation(options) if "cnn" in networks else []
    ratios = {
        f"jbatch/{row['loop']}, {row['network']}, batch {row['batch_size']}": row["ratio"]
        for row in rows
        if row["loop"] != "jbatch"
    } | {f"accumulating/{row['loop']}": row["ratio"] for row in accumulated[1:]}
    texts = [row for row in rows if row["network"] == "gpt"]
    kinds = ((HEADER, [row for row in rows if row not in texts]), (OF_TEXT, texts))
    tables = [Table(header, [_cells(row) for row in some]) for header, some in kinds if some]
    if accumulated:
        tables.append(Table(ACCUMULATED, [_of_accumulated(row) for row in accumulated]))
    modules = ("torch", "torchvision") if "resnet-50" in networks else ("torch",)
    missing = [module for module in modules if find_spec(module) is None]
    needed = "is not installed, and PyTorch left out: pip install -e '.[peers]'"
    notes = [f"{' and '.join(missing)} {needed}"] if missing else []
    values = {"rows": rows, "accumulated": accumulated, "seeds": [0], "ratios": ratios}
    return Outcome(tables, values, notes, lambda: _figure(rows))


def measure(name: str, size: int, options: Options) -> list[dict]:
    """Return one row for each loop."""
    makers = {"jbatch": ours, "flax": flax}
    if name == "resnet-50":
        del makers["flax"]
    with ExitStack() as stack:
        loops = {
            label: stack.enter_context(apart(make, name, size, peer=make is not ours))
            for label, make in makers.items()
        }
        if find_spec("torch") and (name != "resnet-50" or find_spec("torchvision")):
            for label, compiled in (("torch", False), ("compiled", True)):
                try:
                    loop = stack.enter_context(apart(torch, name, size, compiled))
                    loop(1)  # torch.compile fails here if it cannot compile
                except Failed as failed:
                    print(f"{label} is left out for {name}: {failed}", file=sys.stderr)
                else:
                    loops[label] = loop
        return _rows(name, size, loops, options)


def accumulation(options: Options) -> list[dict]:
    """Measure the CNN at 16 micro-batches per update: jbatch, one micro-batch, and MultiSteps."""
    size = MICRO_BATCH * TIMES
    with (
        apart(ours, "cnn", size, MICRO_BATCH, peer=False) as many,
        apart(ours, "cnn", MICRO_BATCH, MICRO_BATCH, peer=False) as one,
        apart(flax, "cnn", size, TIMES) as multi_steps,
    ):
        loops = {
            "jbatch": many,
            "one micro-batch an update": lambda count: one(count * TIMES),
            "MultiSteps": multi_steps,
        }
        return _rows("cnn", size, loops, options)


@contextmanager
def ours(name: str, size: int, micro_batch: int | None = None) -> Iterator[Loop]:
    """Make jbatch's own loop: on one device, or on the cores of a CPU as jbatch uses them.

    With a micro-batch, it is on one device.
    """
    devices = meshes.all_devices()
    on_cpu = devices[0].platform == "cpu"
    if micro_batch or not on_cpu:
        devices = devices[:1]
    dtype = "float32" if on_cpu else "bfloat16"
    with tempfile.TemporaryDirectory() as directory:
        experiment = setting(name, size, Path(directory), dtype=dtype, micro_batch=micro_batch)
        with open_run(experiment, Path(directory) / "run", devices=devices) as opened:
            yield Loops(opened).trainer


def setting(name: str, size: int, folder: Path, **changes) -> Experiment:
    """Return the experiment of a network at a batch size; what it needs of files is in `folder`."""
    if name == "gpt":
        return gpt.experiment(folder, size, **changes)
    return experiment_of(
        WORKLOADS[name], data_of(WORKLOADS[name]), size, augment=Augment(), **changes
    )


@contextmanager
def flax(name: str, size: int, every: int = 1) -> Iterator[Loop]:
    """Make the loop of flax's examples; `every` batches accumulate by `optax.MultiSteps`."""
    dtype = jnp.float32 if jax.devices()[0].platform == "cpu" else jnp.bfloat16
    if name == "gpt":
        yield peer_flax_gpt.loop(size, every, dtype)
        return
    data = data_of(WORKLOADS[name])
    yield peer_flax.loop(name, data.train["image"], data.train["label"], size, every, dtype)


@contextmanager
def torch(name: str, size: int, compiled: bool) -> Iterator[Loop]:
    """Make PyTorch's loop."""
    if name == "gpt":
        from benchmarks import peer_torch_gpt

        yield peer_torch_gpt.loop(size, compiled=compiled, threads=usable_cores())
        return
    from benchmarks import peer_torch

    data = data_of(WORKLOADS[name])
    arrays = (data.train["image"], data.train["label"])
    yield peer_torch.loop(name, *arrays, size, compiled=compiled, threads=usable_cores())


def _rows(name: str, size: int, loops: dict, options: Options) -> list[dict]:
    windows, seconds = (2, 0.2) if options.quick else (options.windows, 1.0)
    spent = take_turns(loops, windows, seconds)
    return [
        {
            "network": name,
            "batch_size": size,
            "loop": label,
            "examples_per_second": size / float(np.median(spent[label])),
            "ratio": ratio(spent, "jbatch", label),
        }
        for label in loops
    ]


HEADER = ("network", "batch", "loop", "examples/s", "jbatch over it", "quartiles")
OF_TEXT = ("network", "batch", "loop", "tokens/s", "jbatch over it", "quartiles")
ACCUMULATED = ("16 micro-batches of 128, CNN", "examples/s", "jbatch over it", "quartiles")


def _of_accumulated(row: dict) -> tuple[str, ...]:
    speed = row["examples_per_second"] * (gpt.SEQUENCE if row["network"] == "gpt" else 1)
    return row["loop"], f"{speed:,.0f}", *row["ratio"].cells(2)


def _cells(row: dict) -> tuple[str, ...]:
    return (row["network"], f"{row['batch_size']:,}", *_of_accumulated(row))


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    cases = list(dict.fromkeys((row["network"], row["batch_size"]) for row in rows))
    labels = list(dict.fromkeys(row["loop"] for row in rows))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(labels)
    ratios = {(row["network"], row["batch_size"], row["loop"]): row["ratio"] for row in rows}
    for number, (label, style) in enumerate(zip(labels, STYLES, strict=False)):
        heights = [
            1 / ratios[*case, label].median if (*case, label) in ratios else 0 for case in cases
        ]
        places = [place + (number - len(labels) / 2 + 0.5) * width for place in range(len(cases))]
        axes.bar(places, heights, width * 0.9, label=label, color=style["color"])
    axes.set_xticks(range(len(cases)), [f"{name}\n{size:,}" for name, size in cases])
    axes.set_ylabel("examples/s over jbatch's")
    axes.legend(ncols=len(labels), loc="upper center", bbox_to_anchor=(0.5, 1.15))
    return "Speed of each loop against jbatch's, by network and batch size.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
