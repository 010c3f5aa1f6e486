"""Measure whether several seeds train faster as one program than one after another.

python -m benchmarks.seeds --json seeds.json

It compares the whole update under `jax.vmap` over seeds, on one device, with as many updates of one
seed each. The two take turns. Here, networks without convolutions take 16 updates in a compiled
loop, and others one call at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from matplotlib.figure import Figure

from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import ratio, take_turns
from benchmarks.workloads import WORKLOADS, Workload, data_of, experiment_of
from jbatch.data.batch import Batch
from jbatch.models import MLP, GhostBatchNorm, SmallCNN
from jbatch.plan.passes import cut
from jbatch.report.drawing import STYLES
from jbatch.run.build import make_setup
from jbatch.step import programs, pure
from jbatch.text import significant

NETWORKS = {  # small enough for several to fit in a device's memory
    "mlp of 128": (WORKLOADS["mlp"]._replace(model=MLP((128,)), held=8192), (1, 16, 128, 1024)),
    "cnn": (
        WORKLOADS["cnn"]._replace(model=SmallCNN((16, 32, 64), GhostBatchNorm(32)), held=8192),
        (32, 128),
    ),
}
IN_A_LOOP = 16  # updates per call


@dataclass(frozen=True)
class Options(Common):
    """Compare several seeds as one program with one after another."""

    seeds: tuple[int, ...] = (2, 5, 10)
    """Numbers of seeds in one program."""
    windows: int = 7
    """Windows; in each, both take a turn."""
    seconds: float = 0.5
    """Approximate seconds of a turn."""


def main(options: Options) -> Outcome:
    """Measure."""
    rows, ratios = [], {}
    networks = {"mlp of 128": NETWORKS["mlp of 128"]} if options.quick else NETWORKS
    for name, (workload, sizes) in networks.items():
        for size in sizes[:1] if options.quick else sizes:
            for seeds in options.seeds[:1] if options.quick else options.seeds:
                loops, updates = _loops(workload, size, seeds)
                windows, seconds = (3, 0.1) if options.quick else (options.windows, options.seconds)
                spent = take_turns(loops, windows, seconds)
                gain = ratio(spent, "together", "one by one")
                ratios[f"{name}, batch {size}, {seeds} seeds together / one by one"] = gain
                alone = float(np.median(spent["one by one"])) / seeds / updates
                rows.append(
                    {"network": name, "batch_size": size, "seeds": seeds, "gain": gain.median}
                    | {"seconds_alone": alone}
                )
    header = ("network", "batch", "seeds", "ms per update, one by one", "together / one by one")
    cells = [
        (
            row["network"],
            f"{row['batch_size']:,}",
            str(row["seeds"]),
            significant(1e3 * row["seconds_alone"], 3),
            f"{row['gain']:.2f}",
        )
        for row in rows
    ]
    notes = ["Together / one by one: how many times as fast all seeds are as one program."]
    values = {"rows": rows, "ratios": ratios}
    return Outcome([Table(header, cells)], values, notes, lambda: _figure(rows))


def _loops(
    workload: Workload, size: int, seeds: int
) -> tuple[dict[str, Callable[[int], None]], int]:
    """Make loops that take n calls for every seed and wait; also return the updates per call."""
    experiment = experiment_of(workload, data_of(workload), size)
    setup, _ = make_setup(experiment, experiment.make_plan(), jax.devices()[:1])
    learner, group = setup.learner, setup.task.group
    [layout] = cut([size], 1, group, size)[size].layouts
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, *workload.shape), dtype=np.uint8)
    labels = rng.integers(0, workload.classes, size).astype(np.int32)
    batch = Batch({"image": jnp.asarray(images), "label": jnp.asarray(labels)}, None)
    in_a_loop = IN_A_LOOP if isinstance(workload.model, MLP) else 1
    told = tuple(jnp.float32(value) for value in (1e-3, size // layout.group, size))

    def update(state):
        sums = pure.gather(learner, layout, state, batch)
        return pure.apply(learner, state, sums, *told)[0]

    def several(state):
        if in_a_loop == 1:
            return update(state)
        return jax.lax.fori_loop(0, in_a_loop, lambda _, state: update(state), state)

    def compiled(function):
        whole = PartitionSpec()
        mapped = jax.shard_map(
            function, mesh=setup.mesh, in_specs=whole, out_specs=whole, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=0)

    alone, together = compiled(several), compiled(jax.vmap(several))
    begun = [programs.initializer(setup)(np.uint32(seed)) for seed in range(seeds)]
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *begun)]

    def one_by_one(count: int) -> None:
        for seed in range(seeds):
            for _ in range(count):
                begun[seed] = alone(begun[seed])
            jax.block_until_ready(begun[seed])

    def at_once(count: int) -> None:
        for _ in range(count):
            stacked[0] = together(stacked[0])
        jax.block_until_ready(stacked[0])

    return {"one by one": one_by_one, "together": at_once}, in_a_loop


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    kinds = dict.fromkeys((row["network"], row["batch_size"]) for row in rows)
    for number, (network, size) in enumerate(kinds):
        here = [row for row in rows if (row["network"], row["batch_size"]) == (network, size)]
        style = STYLES[number % len(STYLES)]
        x, y = zip(*((row["seeds"], row["gain"]) for row in here), strict=True)
        axes.plot(x, y, marker="o", label=f"{network}, batch {size:,}", **style)
    axes.axhline(1, color="#999999", linewidth=0.8)
    axes.set(xlabel="seeds", ylabel="together / one by one")
    axes.legend(fontsize=8)
    return "How many times as fast several seeds train as one program.", figure


if __name__ == "__main__":
    run(main, Options, __doc__)
