"""Compare updates of several micro-batches with `optax.microbatching` and `optax.MultiSteps`.

All have the same network, data, optimizer and micro-batch: 128 images, or 12 windows of the GPT.
They take turns, each in a process of its own, and each is written as its users write it; jbatch's
process keeps freed memory and has huge pages, as it has in training. An example of the GPT is a
window.

    jbatch          its own loop; one program for micro-batches and one for the end of an update
    microbatching   one jitted step per batch size, with a loop over micro-batches inside
    MultiSteps      a jitted step per micro-batch, in the loop of flax's examples

The last column counts the programs that jbatch compiles when the batch grows to this size: two for
the first, and none for the others, because sizes share the micro-batch. `microbatching` compiles
one for each batch size, or else takes batches of the largest.

    python -m benchmarks.accumulation --json accumulation.json
"""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from benchmarks import peer_optax
from benchmarks.apart import apart
from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.peers import flax, ours, setting
from benchmarks.turns import Loop, ratio, take_turns
from benchmarks.workloads import WORKLOADS, data_of
from jbatch.errors import whole
from jbatch.report.drawing import STYLES
from jbatch.run.run import Run
from jbatch.run.start import open_run

MICRO_BATCH = {"mlp": 128, "cnn": 128, "gpt": 12}
TIMES = (2, 5, 16, 50)  # micro-batches of an update
UPDATES = 2  # of each batch size, while programs are counted
COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclass(frozen=True)
class Options(Common):
    """Compare updates of several micro-batches with optax's ways."""

    networks: tuple[Literal[tuple(MICRO_BATCH)], ...] = tuple(MICRO_BATCH)
    """Networks."""
    times: tuple[int, ...] = TIMES
    """Micro-batches of an update."""
    windows: int = 5
    """Windows of each loop."""


def main(options: Options) -> Outcome:
    """Measure."""
    whole("--windows", options.windows)
    networks = options.networks[:1] if options.quick else options.networks
    times = options.times[:1] if options.quick else options.times
    rows = []
    for name in networks:
        anew = dict(zip(times, compiled_by_growth(name, times), strict=True))
        for count in times:
            size = count * MICRO_BATCH[name]
            row = {"network": name, "batch_size": size, "compiled": anew[count]}
            rows += [row | found for found in measure(name, count, options)]
            print(f"{name}, {count} micro-batches: done", flush=True)
    ratios = {
        f"accumulating/{row['loop']}, {row['network']}, batch {row['batch_size']}": row["ratio"]
        for row in rows
        if row["loop"] != "jbatch"
    }
    values = {"rows": rows, "seeds": [0], "ratios": ratios}
    table = Table(HEADER, [_cells(row) for row in rows])
    return Outcome([table], values, figure=lambda: _figure(rows))


def measure(name: str, count: int, options: Options) -> list[dict]:
    """Return one row for each way."""
    size = count * MICRO_BATCH[name]
    with (
        apart(ours, name, size, MICRO_BATCH[name], peer=False) as jbatch,
        apart(microbatching, name, size) as inside,
        apart(flax, name, size, count) as multi_steps,
    ):
        loops = {"jbatch": jbatch, "microbatching": inside, "MultiSteps": multi_steps}
        windows, seconds = (2, 0.2) if options.quick else (options.windows, 1.0)
        spent = take_turns(loops, windows, seconds)
    return [
        {
            "loop": label,
            "examples_per_second": size / float(np.median(spent[label])),
            "ratio": ratio(spent, "jbatch", label),
        }
        for label in loops
    ]


@contextmanager
def microbatching(name: str, size: int) -> Iterator[Loop]:
    """Make the loop over `optax.microbatching`."""
    dtype = jnp.float32 if jax.devices()[0].platform == "cpu" else jnp.bfloat16
    if name == "gpt":
        yield peer_optax.of_text(size, MICRO_BATCH[name], dtype)
        return
    train = data_of(WORKLOADS[name]).train
    yield peer_optax.of_images(name, train["image"], train["label"], size, MICRO_BATCH[name], dtype)


def compiled_by_growth(name: str, times: tuple[int, ...]) -> list[int]:
    """Count the programs that each batch size adds, in a run that grows through all of them.

    Its updates are taken, so that anything compiled by them is counted too.
    """
    sizes = tuple(MICRO_BATCH[name] * count for count in times)
    events, seen, counts = [], set(), []

    def listen(name: str, seconds: float, **_) -> None:
        if name == COMPILED:
            events.append(seconds)

    with growing(name, sizes) as opened:
        made = [opened.ahead.program(size) for size in sizes]  # waits for all of them
        jax.monitoring.register_event_duration_secs_listener(listen)
        for phase, program in zip(opened.plan.phases, made, strict=True):
            known, before = len(seen), len(events)
            seen |= {id(call) for call in (*program.calls.values(), program.apply)}
            for update in range(UPDATES):
                at = opened.plan.at(phase.first_update + update)
                opened.state = opened.driver.update(opened.state, [at])
            jax.block_until_ready(opened.state)
            counts.append(len(seen) - known + len(events) - before)
        jax.monitoring.unregister_event_duration_listener(listen)
    return counts


@contextmanager
def growing(name: str, sizes: tuple[int, ...]) -> Iterator[Run]:
    """Open a run that takes `UPDATES` updates of each batch size."""
    starts = [0, *itertools.accumulate(UPDATES * size for size in sizes)]
    decided = dict(zip(starts, sizes, strict=False)) if len(sizes) > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        experiment = setting(name, sizes[0], folder, micro_batch=MICRO_BATCH[name])
        epochs = starts[-1] / experiment.plan.num_examples
        plan = replace(experiment.plan, num_epochs=epochs, batch_sizes=sizes, decided=decided)
        rare = {"eval_every": None, "log_every": None, "save_every": None}
        experiment = replace(experiment, plan=plan, **rare)
        with open_run(experiment, folder / "run", devices=jax.devices()[:1]) as opened:
            yield opened


HEADER = ("network", "batch", "loop", "examples/s", "jbatch over it", "quartiles", "compiled")


def _cells(row: dict) -> tuple[str, ...]:
    return (
        row["network"],
        f"{row['batch_size']:,}",
        row["loop"],
        f"{row['examples_per_second']:,.0f}",
        *row["ratio"].cells(2),
        str(row["compiled"]) if row["loop"] == "jbatch" else "",
    )


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(3 * len(names), 3.2), layout="constrained")
    every = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(every, names, strict=True):
        for label, style in zip(("microbatching", "MultiSteps"), STYLES, strict=False):
            mine = [row for row in rows if row["network"] == name and row["loop"] == label]
            sizes = [row["batch_size"] for row in mine]
            axes.plot(
                sizes, [row["ratio"].median for row in mine], marker="o", label=label, **style
            )
        axes.axhline(1, color="0.6", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_title(name)
        axes.set_xlabel("batch size")
    every[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return "Speed of jbatch over optax's ways to accumulate.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
