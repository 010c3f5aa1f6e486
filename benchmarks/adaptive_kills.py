"""Kill an adaptive run again and again, compare it with an undisturbed one, and replay it.

A small network on scikit-learn's digits decides on its batch size. Each start is a process of its
own, which SIGKILL ends: half of them from within, at a random place of the program (before a
decision is written, while a checkpoint is written, between two updates, …), the others after a
random time. Then the run finishes. Its parameters, metrics and decisions must be bit for bit those
of an undisturbed run, and the parameters those of its replay as a fixed plan.

    python -m benchmarks.adaptive_kills                 50 kills
    python -m benchmarks.adaptive_kills --kills 4
"""

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal

import jax
import optax
import tyro

import jbatch
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.overrides import override
from jbatch.files import write_whole
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.decisions import read_decisions
from jbatch.run.libraries import prepare_libraries
from jbatch.run.metrics import TIMED, read_metrics
from jbatch.run.replay import replayed
from jbatch.testing import at
from jbatch.text import text_table

PLACES = {  # where a process is killed from within → the last passing that a start may reach
    "decision": 3,
    "save begins": 3,
    "save under way": 3,
    "phase begins": 2,
    "update dispatched": 120,
    "metrics line": 3,
    "pass evaluated": 3,
}
# Processes that have imported JAX, and not begun to use it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jbatch.run.loop", "jbatch.task.classify", "orbax.checkpoint"])
Rule = Literal["noise_scale", "norm_test", "loss_stall"]
RULES = {
    "noise_scale": jbatch.NoiseScale(target=1.5),
    "norm_test": jbatch.NormTest(theta=0.7),
    "loss_stall": jbatch.LossStall(patience=2, least=0.1),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Kill an adaptive run at random moments, and check that its result does not change."""

    kills: int = 50
    """Number of kills."""
    rule: Rule = "noise_scale"
    """What decides."""
    seed: int = 0
    """Seed of the random places and times."""


def experiment(rule: str) -> Experiment:
    """Return an adaptive run that takes a second, after JAX has started."""
    return Experiment(
        jbatch.Coupling(
            optax.cosine_decay_schedule(0.05, 4),
            num_epochs=4,
            batch_size=20,
            batch_sizes=(20, 40, 60, 120),
            momentum=0.9,
        ),
        task=jbatch.Classify(jbatch.MLP((16,))),
        data=jbatch.Digits(),
        micro_batch=10,
        save_every=1,
        measure_noise=True,
        adaptive=jbatch.Adaptive(RULES[rule], every=25),
    )


def train(directory: Path, what: str, rule: str) -> None:
    """Train to the end, or to the place where this process is killed."""
    os.dup2(os.open(log_of(directory), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    prepare_libraries()
    run = experiment(rule)
    place, _, number = what.partition(":")
    if place == "replay":
        run = override(run, replayed(Path(number), run), "benchmarks.adaptive_kills")
    elif place:
        at(place, lambda value: os.kill(os.getpid(), signal.SIGKILL) or value, int(number))
    found = jbatch.fit(run, directory, devices=jax.devices()[:1])
    digest = parameters_digest(jax.device_get(found.state.params))
    write_whole(directory / "digest", digest)


def log_of(directory: Path) -> Path:
    """Return the file of what a run says."""
    return directory.with_suffix(".log")


def start(directory: Path, what: str, options: Options) -> ForkServerProcess:
    """Start or resume a run in a process of its own."""
    process = SERVER.Process(target=train, args=(directory, what, options.rule))
    process.start()
    return process


def ended(process: ForkServerProcess, directory: Path) -> bool:
    """Return whether a process has finished its run; False if it was killed."""
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(log_of(directory).read_text())
    return process.exitcode == 0


def finish(directory: Path, what: str, options: Options) -> dict:
    """Finish a run; return what must not differ."""
    ended(start(directory, what, options), directory)
    lines = read_metrics(directory / "metrics.jsonl")
    timeless = [{name: v for name, v in line.items() if name not in TIMED} for line in lines]
    return {
        "parameters": (directory / "digest").read_text(),
        "metrics": timeless,
        "decisions": read_decisions(directory),
    }


def kill(directory: Path, draw: random.Random, options: Options) -> str | None:
    """Start a run and let it be killed; return where, or None if it ended before."""
    if draw.random() < 0.5:
        place = draw.choice(list(PLACES))
        process = start(directory, f"{place}:{draw.randint(1, PLACES[place])}", options)
    else:
        place = "after some time"
        process = start(directory, "", options)
        time.sleep(draw.uniform(0.2, 3))
        process.kill()
    return None if ended(process, directory) else place


def main(options: Options) -> None:
    """Compare the runs."""
    draw, met = random.Random(options.seed), Counter()
    with tempfile.TemporaryDirectory() as folder:
        alone, again = Path(folder, "alone"), Path(folder, "replayed")
        undisturbed = finish(alone, "", options)
        grown = [line for line in undisturbed["decisions"] if _grows(line)]
        runs, same = 0, True
        while met.total() < options.kills:
            runs += 1
            killed = Path(folder, f"killed{runs}")
            while met.total() < options.kills:
                place = kill(killed, draw, options)
                if place is None:  # it has finished: go on with another one
                    break
                met[place] += 1
            same &= finish(killed, "", options) == undisturbed
        replay = finish(again, f"replay:{alone}", options)
        repeated = replay["parameters"] == undisturbed["parameters"]
    print(text_table(("killed", "times"), [(what, str(n)) for what, n in met.most_common()]))
    print(f"\n{len(undisturbed['decisions'])} decisions, growth at {json.dumps(grown)}")
    print(f"{runs} runs with {met.total()} kills bit for bit the undisturbed one: {said(same)}")
    print(f"replayed bit for bit: {said(repeated)}")
    if not (same and repeated and grown):
        raise SystemExit(1)


def said(true: bool) -> str:
    """Say yes or NO."""
    return "yes" if true else "NO"


def _grows(line: dict) -> bool:
    return line["next_batch_size"] != line["batch_size"]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
