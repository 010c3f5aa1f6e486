"""Compare the gradient noise scale that runs measure with the exact one.

A network trains and measures its noise from the parts of its updates. At some of its checkpoints
the gradients of all training examples, one by one, give |G|² and trΣ exactly. Beside them stands
what a second run measures that begins there and stays (its rate is too small to change a float32).
What the run itself said there is an average over its last hundred updates or so, in which the
parameters moved; for the last place it stands beside exact values averaged over its checkpoints
with the same weights.

    python -m benchmarks.exact_noise mnist --out FOLDER
    python -m benchmarks.exact_noise shakespeare --text tinyshakespeare.txt --out FOLDER

Runs are kept in the folder, so that the same command goes on after it was interrupted. Published:
about 900 for MNIST (McCandlish et al., arXiv 1812.06162, an average over training; another network
gave 876), and for nanoGPT on tiny Shakespeare |G|² 0.933, trΣ 20.5 and 22 examples at update 240.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jbatch
from benchmarks.outcome import Common, Outcome, Table, run
from jbatch.data.batch import Batch
from jbatch.data.text.tokenizer import Characters
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.plan.layout import Layout
from jbatch.run.metrics import read_metrics
from jbatch.run.trained import Trained
from jbatch.step.noise import REMEMBERED
from jbatch.task.base import SQUARED, TRACE
from jbatch.text import significant

STILL = optax.constant_schedule(1e-30)  # a rate that changes no parameter
MOST_AVERAGED = 6  # checkpoints of a run
AT_ONCE = 100  # examples whose gradients are held


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Compare measured gradient noise scales with exact ones."""

    what: tyro.conf.Positional[Literal["mnist", "shakespeare"]]
    """What is trained."""
    out: Path
    """Folder of the runs."""
    text: Path | None = None
    """tinyshakespeare.txt."""
    data_dir: str | None = None
    """Where `jbatch prepare mnist` wrote; None: as for jbatch.TFDS."""
    seed: int = 0
    """Of the runs."""


class Case(NamedTuple):
    """A run, and where its noise is compared."""

    experiment: Experiment
    places: tuple[int, ...]  # updates
    still: Experiment  # measures at fixed parameters


def main(options: Options) -> Outcome:
    """Train, then measure at each place in three ways."""
    case = _mnist(options) if options.what == "mnist" else _shakespeare(options)
    if options.quick:
        case = case._replace(places=case.places[:1])
    folder = options.out / f"{options.what}-{options.seed}"
    jbatch.fit(case.experiment, folder / "run")
    lines = _training(folder / "run")
    examples = case.experiment.data.load().train
    cells, rows = [], []
    for update in case.places:
        [line] = [line for line in lines if line["update"] == update]
        model = jbatch.load(folder / "run", line["examples"])
        there = jbatch.Weights(folder / "run", step=model.examples)
        still = folder / f"still-{update}"
        jbatch.fit(replace(case.still, init=there, seed=options.seed + 1), still)
        found = {
            "exact": _exact(model, examples),
            "at fixed parameters": np.mean([_noise(line) for line in _training(still)], axis=0),
            "in the run": _noise(line),
        }
        if update == case.places[-1]:
            found["exact, over checkpoints"] = _averaged(folder / "run", examples, lines)
        for name, (squared, trace) in found.items():
            ratio = trace / squared
            rows.append({"update": update, "how": name, "squared": squared, "trace": trace})
            exact = found["exact"][1] / found["exact"][0]
            cells.append(
                (
                    f"{update:,}" if name == "exact" else "",
                    name,
                    *(significant(each, 4) for each in (squared, trace, ratio)),
                    "" if name == "exact" else f"{ratio / exact - 1:+.1%}",
                )
            )
    header = ("update", "trΣ/|G|²", "|G|²", "trΣ", "examples", "off")
    simple = [line[TRACE] / line[SQUARED] for line in lines if line[SQUARED] > 0]
    notes = [f"Over the whole run: {significant(float(np.mean(simple)), 3)} (mean of all lines)."]
    return Outcome([Table(header, cells)], {"rows": rows, "mean": float(np.mean(simple))}, notes)


def _mnist(options: Options) -> Case:
    plan = jbatch.Coupling(optax.constant_schedule(0.1), num_epochs=5, batch_size=128)
    experiment = Experiment(
        plan,
        task=jbatch.Classify(jbatch.MLP((128,))),
        data=jbatch.TFDS("mnist", data_dir=options.data_dir),
        micro_batch=32,
        measure_noise=True,
        seed=options.seed,
        log_every=39 * 128 / 60_000,  # updates
        keep_every=39 * 128 / 60_000,
        save_every=1,
    )
    still = replace(
        experiment,
        plan=replace(plan, schedule=STILL, batch_size=1000, num_epochs=20),
        micro_batch=250,
        log_every=1,
        keep_every=None,
        save_every=20,
    )
    return Case(experiment, (39, 195, 468, 936, 2340), still)


def _shakespeare(options: Options) -> Case:
    if options.text is None:
        raise Mistake("shakespeare needs --text: give the path of tinyshakespeare.txt")
    size, sequence, updates = 64, 64, 240
    text = options.text.read_text()
    text = text[: len(text) * 9 // 10]
    ids = Characters.of([text]).encode(text)
    starts = np.arange(0, len(ids) - sequence - 1, sequence)
    windows = {"tokens": ids[starts[:, None] + np.arange(sequence + 1)].astype(np.uint8)}
    plan = jbatch.Coupling(
        optax.warmup_constant_schedule(1e-5, 1e-3, 100),
        unit="updates",
        length=updates,
        batch_size=size,
        momentum=0.9,
    )

    def clipped(rate, momentum):
        adam = jbatch.AdamW(b2=0.99, weight_decay=0.1)(rate, momentum)
        return optax.chain(optax.clip_by_global_norm(1.0), adam)

    experiment = Experiment(
        plan,
        task=jbatch.LanguageModel(jbatch.GPT(layers=4, heads=4, width=128)),
        data=jbatch.Arrays(windows, {"tokens": windows["tokens"][:640]}, len(set(text))),
        optimizer=clipped,
        micro_batch=16,
        measure_noise=True,
        seed=options.seed,
        log_every=20,
        eval_every=updates,
        keep_every=20,
        save_every=60,
    )
    still = replace(
        experiment,
        plan=replace(plan, schedule=STILL, length=200, momentum=None),
        optimizer=jbatch.SGD(),
        log_every=25,
        keep_every=None,
        save_every=200,
    )
    return Case(experiment, (240,), still)


def _training(directory: Path) -> list[dict[str, Any]]:
    lines = read_metrics(directory / "metrics.jsonl")
    return [line for line in lines if line["kind"] == "train"]


def _noise(line: dict[str, Any]) -> tuple[float, float]:
    return line[SQUARED], line[TRACE]


def _exact(model: Trained, examples: Any) -> tuple[float, float]:
    """Return (|G|², trΣ) of a model's mean loss over examples, from the gradient of each."""
    sums = _summed(model)
    count, total, squares = len(jax.tree.leaves(examples)[0]), 0.0, 0.0
    for start in range(0, count, AT_ONCE):
        index = np.minimum(np.arange(start, start + AT_ONCE), count - 1)
        exists = np.arange(start, start + AT_ONCE) < count
        here = jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], examples)
        gradient, square = jax.device_get(sums(here, exists))
        total, squares = total + gradient.astype(np.float64), squares + float(square)
    squared = float(np.square(total / count).sum())
    return squared, (squares - count * squared) / (count - 1)


def _averaged(directory: Path, examples: Any, lines: list[dict[str, Any]]) -> np.ndarray:
    """Return exact values over a run's last checkpoints, weighed as the run weighs its updates."""
    values, weights = [], []
    for before, line in pairwise(lines[-MOST_AVERAGED - 1 :]):  # each stands for the updates since
        values.append(_exact(jbatch.load(directory, line["examples"]), examples))
        age, since = lines[-1]["update"] - line["update"], line["update"] - before["update"]
        weights.append(since * np.exp(-age / REMEMBERED))
    return np.average(values, axis=0, weights=weights)


def _summed(model: Trained) -> Callable[[Any, Any], tuple[jax.Array, jax.Array]]:
    """Return the function of some examples that sums their gradients, and the squares of these."""
    task, state = model.learner.task, model.train_state
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), 1)  # nothing here is random

    def loss(params: Any, example: Any) -> jax.Array:
        alone = Batch(jax.tree.map(lambda leaf: leaf[None], example), keys)
        scores, _ = task.sums(params, state.stats, alone, Layout(1, 1, 1))
        return scores["loss"][0] / scores["loss"][1]

    @jax.jit
    def sums(examples: Any, exists: Any) -> tuple[jax.Array, jax.Array]:
        gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(state.params, examples)
        leaves = [
            jnp.where(exists[:, None], leaf.reshape(len(exists), -1), 0)
            for leaf in jax.tree.leaves(gradients)
        ]
        squares = sum(jnp.square(leaf).sum() for leaf in leaves)
        return jnp.concatenate([leaf.sum(0) for leaf in leaves]), jnp.asarray(squares)

    return sums


if __name__ == "__main__":
    run(main, Options, __doc__)
