"""Compare an update of a person's own network with one of jbatch's own code for the same network.

Both are the small CNN with batch norm over 128 examples, on random 28×28 images, with random crops:

    own     flax.nnx layers for one image, which name `jbatch.conv`, mapped over the examples
    jbatch  SmallCNN, which takes whole batches, with the written-out gradient of its norms

The two loops take turns in one process, on one device, with a call for each update; a ratio is the
median of the turns' ratios.

    python -m benchmarks.open_task --json open_task.json
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

import jbatch
from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import ratio, take_turns
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from jbatch.errors import whole
from jbatch.experiment.experiment import Experiment
from jbatch.plan.passes import Update, cut
from jbatch.report.drawing import STYLES
from jbatch.run.build import make_setup
from jbatch.step import programs

GROUP = 128


class Net(nnx.Module):
    """The small CNN, for one image."""

    def __init__(self, rngs: nnx.Rngs):
        """Create three convolutions of stride 2, each with a norm, and a linear layer."""
        widths = (1, 16, 32, 64)
        pairs = list(pairwise(widths))
        self.convolutions = nnx.List(
            nnx.Conv(
                *(a, b, (3, 3)),
                strides=2,
                use_bias=False,
                conv_general_dilated=jbatch.conv,
                rngs=rngs,
            )
            for a, b in pairs
        )
        self.norms = nnx.List(
            nnx.BatchNorm(b, axis_name="group", momentum=0.99, rngs=rngs) for _, b in pairs
        )
        self.head = nnx.Linear(4 * 4 * 64, 10, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        """Return the logits (10,) of an image (28, 28, 1)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            image = nnx.relu(norm(convolution(image)))
        return self.head(image.reshape(-1))


@dataclass(frozen=True)
class Options(Common):
    """Compare an update of a person's own network with one of jbatch's own code."""

    sizes: tuple[int, ...] = (128, 640)
    """Batch sizes, multiples of 128."""
    windows: int = 13
    """Windows of each loop."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    windows, seconds = (3, 0.1) if options.quick else (options.windows, 0.5)
    data, rows = data_of(WORKLOADS["cnn"]), []
    for size in options.sizes:
        fast = experiment_of(WORKLOADS["cnn"], data, size, updates_per_call=1)
        task = replace(fast.task, model=Net, ghost_batch=GROUP)
        loops = {"jbatch": _loop(fast), "own": _loop(replace(fast, task=task))}
        spent = take_turns(loops, windows, seconds)
        found = ratio(spent, "own", "jbatch")
        rows.append(
            {"batch_size": size, "ratio": found}
            | {name: float(np.median(values)) for name, values in spent.items()}
        )
        print(f"batch {size:,}: own/jbatch {found.median:.3f}", flush=True)
    header = ("batch", "ms, own", "ms, jbatch", "own/jbatch", "quartiles")
    table = [
        (
            f"{row['batch_size']:,}",
            *(f"{1e3 * row[name]:.2f}" for name in ("own", "jbatch")),
            *row["ratio"].cells(3),
        )
        for row in rows
    ]
    ratios = {f"own/jbatch, cnn, batch {row['batch_size']}": row["ratio"] for row in rows}
    return Outcome(
        [Table(header, table)],
        {"rows": rows, "windows": windows, "seeds": [0], "ratios": ratios},
        figure=lambda: _figure(rows),
    )


def _loop(experiment: Experiment) -> Callable[[int], None]:
    """Return what takes n updates of an experiment, on one device."""
    size = experiment.plan.batch_size
    setup, data = make_setup(experiment, experiment.make_plan(), jax.devices()[:1])
    [layout] = cut([size], 1, GROUP, None)[size].layouts
    compiled = programs.compiled(setup, Update(layout))
    arguments = data.feed(setup.mesh, 0).arguments(0, layout)
    told = programs.told(setup, [programs.how(1e-3, size // GROUP, size)])
    state = programs.initializer(setup)(np.uint32(0))

    def take(updates: int) -> None:
        nonlocal state
        for _ in range(updates):
            state, loss = compiled(state, told, *arguments)
        loss.block_until_ready()

    return take


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, style in zip(("own", "jbatch"), STYLES, strict=False):
        sizes = [row["batch_size"] for row in rows]
        axes.plot(sizes, [1e3 * row[name] for row in rows], marker="o", label=name, **style)
    axes.set(xlabel="batch size, examples", ylabel="ms an update")
    axes.legend()
    return "An update of a person's own network, and of jbatch's code for the same network.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
