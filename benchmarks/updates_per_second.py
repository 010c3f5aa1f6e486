"""Updates per second of the trainer's own loop, against the bare step.

Three loops over the same network, batch size and data take turns in one process:

    trainer    jbatch's loop: plan look-up, order of each epoch, logging, checkpoints, signals
    bare       the same compiled update, its indexing and augmentation included, called in a plain
               loop with donated state and nothing else
    prebuilt   the update on batches that lie ready as float32, so that the input's cost shows

Figures are medians over windows of about half a second; ratios are medians of each window's own, so
that they hold where the machine's speed drifts. Compilation is not part of any window.

    python -m benchmarks.updates_per_second --json updates_per_second.json
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, product
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import optax
import tyro

from jbatch import compile, parallel, step
from jbatch.assemble import make_setup
from jbatch.compile import how
from jbatch.data.augment import Augment
from jbatch.data.inputs import Batch
from jbatch.data.sources import Arrays
from jbatch.experiment import Coupling, Experiment
from jbatch.layout import Layout, group_size
from jbatch.models import MLP, CifarResNet, GhostBatchNorm, ghost_batch
from jbatch.opening import open_run
from jbatch.optimizer import SGD
from jbatch.run_directory import environment
from jbatch.tables import text_table
from jbatch.train import run_until

NUM_EXAMPLES, SHAPE = 50_000, (28, 28, 1)
NETWORKS = {
    "MLP 784-512-512-10": MLP(hidden=(512, 512)),
    "ResNet-8 8-16-32": CifarResNet(1, (8, 16, 32), GhostBatchNorm(ghost_batch=32)),
}
LOOPS = ("trainer", "bare", "prebuilt")


@dataclasses.dataclass(frozen=True)
class Options:
    """Updates per second of the trainer's own loop, against the bare step."""

    json: Path | None = None
    """Write the figures here."""
    sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    """Batch sizes."""
    mappings: tuple[Literal["shard_map", "pmap"], ...] = ("shard_map",)
    """How the step is mapped over devices; a row for each."""
    windows: int = 9
    """Windows of each loop."""
    quick: bool = False
    """Three short windows at batch sizes 32 and 256, to see that it runs."""


def main(options: Options) -> list[dict]:
    """Measure, print and write; the figures."""
    if options.quick:
        options = dataclasses.replace(options, sizes=(32, 256), windows=3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_EXAMPLES, *SHAPE), dtype=np.uint8)
    labels = rng.integers(0, 10, NUM_EXAMPLES)
    data = Arrays(images, labels, images[:256], labels[:256], num_classes=10)
    rows = []
    for name, model in NETWORKS.items():
        for size, mapping in product(options.sizes, options.mappings):
            row = {"network": name, "mapping": mapping, "batch_size": size}
            rows.append(row | measure(model, data, size, mapping, options))
            print(_line(rows[-1]), flush=True)
    print("\n" + _table(rows))
    if options.json:
        values = {"environment": environment(), "windows": options.windows, "rows": rows}
        options.json.write_text(json.dumps(values, indent=2) + "\n")
    return rows


def measure(model, data: Arrays, size: int, mapping: str, options: Options) -> dict:
    """Updates per second of each loop and ratios to the bare one, for one row of the table."""
    experiment = Experiment(
        plan=Coupling(
            schedule=optax.constant_schedule(1e-3),
            num_examples=NUM_EXAMPLES,
            num_epochs=2e6 * size / NUM_EXAMPLES,  # more updates than any window will take
            batch_size=size,
            batch_sizes=(size,),
            momentum=0.9,
        ),
        model=model,
        data=data,
        optimizer=SGD(weight_decay=5e-4),
        augment=Augment(pad=2),
        mapping=mapping,
        eval_every=2e6,
    )
    with tempfile.TemporaryDirectory() as directory, loops(experiment, Path(directory)) as runs:
        count = calibrated(runs["bare"], 0.1 if options.quick else 0.5)
        seconds = {name: [] for name in LOOPS}
        for window in range(-1, options.windows):
            for turn in range(len(LOOPS)):  # none of them always follows the same
                name = LOOPS[(window + turn) % len(LOOPS)]
                start = time.perf_counter()
                runs[name](count)
                if window >= 0:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
    times = {name: np.array(values) for name, values in seconds.items()}
    result = {f"{name}_updates_per_second": float(count / np.median(times[name])) for name in LOOPS}
    ratios = times["bare"] / times["trainer"]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return {
        **result,
        "examples_per_second": size * result["trainer_updates_per_second"],
        "trainer_over_bare": float(np.median(ratios)),
        "trainer_over_bare_quartiles": [float(low), float(high)],
        "prebuilt_over_bare": float(np.median(times["bare"] / times["prebuilt"])),
        "updates_per_window": count,
    }


@contextmanager
def loops(experiment: Experiment, directory: Path) -> Iterator[dict[str, Callable[[int], None]]]:
    """Each loop as a function that takes so many updates and waits for them."""
    plan = experiment.plan.plan()
    setup, data = make_setup(experiment, plan, jax.devices())
    size = experiment.plan.batch_size
    layout = Layout(size, setup.devices, group_size(size, ghost_batch(experiment.model)))
    feed = data.feed(setup.mesh, 0)
    told = how(1e-3, size, size // layout.group)
    states = {name: compile.initializer(setup)(np.uint32(0)) for name in ("bare", "prebuilt")}
    update, ready = compile.update(setup, layout), on_ready_batches(setup, layout)
    inputs = cycle([feed.arguments(at, layout) for at in range(0, NUM_EXAMPLES - size + 1, size)])
    batches = cycle(ready_batches(setup, layout))

    def bare(count: int) -> None:
        state = states["bare"]
        for _ in range(count):
            state, _loss = update(state, told, *next(inputs))
        states["bare"] = jax.block_until_ready(state)

    def prebuilt(count: int) -> None:
        state = states["prebuilt"]
        for _ in range(count):
            state, _loss = ready(state, next(batches), told)
        states["prebuilt"] = jax.block_until_ready(state)

    with open_run(experiment, directory / "run") as run:

        def trainer(count: int) -> None:
            run_until(run, run.update + count)

        yield {"trainer": trainer, "bare": bare, "prebuilt": prebuilt}


def on_ready_batches(setup, layout: Layout) -> Callable:
    """(state, batch of each device, how) → (state, loss)."""

    def update(state, batch, told):
        return step.apply(setup.task, state, step.gather(setup.task, layout, state, batch), *told)

    state = jax.eval_shape(partial(step.init, setup.task), np.uint32(0))
    return parallel.Mapped(
        update,
        setup.mesh,
        setup.mapping,
        (state, ready_batches(setup, layout)[0], how(0, 0, 0)),
        per_device=(False, True, False),
        per_device_out=(False, False),
        donate=(0,),
    ).compile()


def ready_batches(setup, layout: Layout) -> list[Batch]:
    """Four batches, split over the devices."""
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (layout.devices, layout.per_device)
    batches = [
        Batch(
            jax.random.normal(key, (*shape, *SHAPE)),
            jax.random.randint(key, shape, 0, 10),
            jax.random.split(key, shape),
        )
        for key in keys
    ]
    return jax.device_put(batches, parallel.split(setup.mesh))


def calibrated(loop: Callable[[int], None], seconds: float) -> int:
    """How many updates take about so long."""
    loop(1)
    count, elapsed = 1, 0.0
    while elapsed < seconds / 4:
        count *= 2
        start = time.perf_counter()
        loop(count)
        elapsed = time.perf_counter() - start
    return max(2, round(count * seconds / elapsed))


def _line(row: dict) -> str:
    return (
        f"{row['network']}, {row['mapping']}, batch {row['batch_size']:,}: trainer/bare "
        f"{row['trainer_over_bare']:.3f}"
    )


def _table(rows: list[dict]) -> str:
    header = (
        "network",
        "mapping",
        "batch",
        "trainer updates/s",
        "examples/s",
        "bare updates/s",
        "trainer/bare",
        "quartiles",
        "prebuilt updates/s",
        "prebuilt/bare",
    )
    return text_table(
        header,
        [
            (
                row["network"],
                row["mapping"],
                f"{row['batch_size']:,}",
                f"{row['trainer_updates_per_second']:,.1f}",
                f"{row['examples_per_second']:,.0f}",
                f"{row['bare_updates_per_second']:,.1f}",
                f"{row['trainer_over_bare']:.3f}",
                "{:.3f}–{:.3f}".format(*row["trainer_over_bare_quartiles"]),
                f"{row['prebuilt_updates_per_second']:,.1f}",
                f"{row['prebuilt_over_bare']:.2f}",
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)))
