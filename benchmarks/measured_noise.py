"""Measure what it costs to measure the gradient noise scale.

For each network and optimizer it compiles the update with and without, and compares the FLOPs and
bytes that the compiler counts, and the seconds of the two in turns. On several devices an update is
one pass, and each device is a part. On one device it is two passes.

    python -m benchmarks.measured_noise --json measured_noise.json
"""

from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import Loop, ratio, take_turns
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from jbatch.data.open import load
from jbatch.estimate.hlo_costs import facts_of
from jbatch.optim import SGD, Adam
from jbatch.plan.passes import Passes, cut
from jbatch.run.build import make_setup
from jbatch.step import flops, programs
from jbatch.step.programs import Setup, how, told

OPTIMIZERS = {"SGD": SGD(), "Adam": Adam()}


@dataclass(frozen=True)
class Options(Common):
    """Measure what it costs to measure the gradient noise scale."""

    networks: tuple[Literal[tuple(WORKLOADS)], ...] = ("mlp", "cnn")
    """Networks."""
    sizes: tuple[int, ...] = (256, 1024)
    """Batch sizes; half of one is whole ghost batches of 128."""
    windows: int = 9
    """Windows of each loop."""


def main(options: Options) -> Outcome:
    """Measure."""
    rows, ratios = [], {}
    windows, seconds = (3, 0.05) if options.quick else (options.windows, 0.5)
    for name in options.networks[: 1 if options.quick else None]:
        for size in options.sizes[: 1 if options.quick else None]:
            for optimizer in OPTIMIZERS:
                row, gain = _row(name, size, optimizer, windows, seconds)
                rows.append(row)
                ratios[f"measured / not, {name}, batch {size}, {optimizer}"] = gain
    header = ("network", "batch", "optimizer", "FLOPs", "bytes", "time")
    cells = [
        (
            *(row["network"], f"{row['batch_size']:,}", row["optimizer"]),
            *(f"{row[name]:+.2%}" for name in ("flops", "bytes", "seconds")),
        )
        for row in rows
    ]
    notes = ["What measuring adds to an update. FLOPs: over those of the network's products."]
    values = {"rows": rows, "ratios": ratios}
    return Outcome([Table(header, cells)], values, notes, lambda: _figure(rows))


def _row(name: str, size: int, optimizer: str, windows: int, seconds: float):
    workload = WORKLOADS[name]._replace(held=max(2 * size, 1024))
    experiment = experiment_of(workload, data_of(workload), size, updates_per_call=1)
    experiment = replace(experiment, optimizer=OPTIMIZERS[optimizer])
    devices, loops, facts = jax.devices(), {}, {}
    for measured in (False, True):
        here = replace(experiment, measure_noise=measured)
        setup, _ = make_setup(here, here.make_plan(), devices)
        limit = None if len(devices) > 1 else size // 2
        [passes] = cut([size], len(devices), setup.task.group, limit).values()
        facts[measured] = [
            facts_of(programs.compiled(setup, call).compiled) for call in passes.program
        ]
        loops["measured" if measured else "not"] = _loop(setup, passes, load(here.data), size)
    products = sum(flops.of_pass(setup.learner, layout) for layout in passes.layouts)
    counted = {
        each: [sum(getattr(fact, each) for fact in facts[on]) for on in (False, True)]
        for each in ("flops", "accessed")
    }
    spent = take_turns(loops, windows, seconds)
    gain = ratio(spent, "measured", "not")
    return {
        "network": name,
        "batch_size": size,
        "optimizer": optimizer,
        "flops": (counted["flops"][1] - counted["flops"][0]) / max(products, counted["flops"][0]),
        "bytes": counted["accessed"][1] / counted["accessed"][0] - 1,
        "seconds": 1 / gain.median - 1,
    }, gain


def _loop(setup: Setup, passes: Passes, data, size: int) -> Loop:
    """Return a loop over the same update."""
    feed = data.feed(setup.mesh, 0)
    inputs = [feed.arguments(position, layout) for position, layout in passes.placed(0)]
    once = how(1e-3, size // passes.layouts[0].group, size)
    calls = [programs.compiled(setup, call) for call in passes.program]
    state = programs.initializer(setup)(np.uint32(0))
    sums = None if passes.whole else programs.zero_sums(setup)()

    def loop(count: int) -> None:
        nonlocal state, sums
        for _ in range(count):
            if passes.whole:
                state, loss = calls[0](state, told(setup, [once]), *inputs[0])
            else:
                for accumulate, given in zip(calls[:-1], inputs, strict=True):
                    sums, _ = accumulate(state, sums, np.int32(1), *given)
                state, sums, loss = calls[-1](state, sums, once)
            loss.block_until_ready()

    return loop


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['network']}, {row['batch_size']:,}, {row['optimizer']}" for row in rows]
    axes.barh(names, [100 * row["seconds"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("% more time for an update")
    return "What measuring the gradient noise scale adds to an update.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
