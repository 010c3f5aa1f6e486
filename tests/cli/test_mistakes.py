"""A mistake of any kind: one message, exit code 2, nothing changed."""

import json
import re
import shutil
from pathlib import Path

import pytest

from commands import TINY

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


EXPERIMENT = """
import dataclasses, runpy, optax
import jax.numpy as jnp
growing = runpy.run_path({tiny!r})["variants"]["growing"]
variants = {{"it": dataclasses.replace(growing, plan=dataclasses.replace(growing.plan, {change}))}}
"""


# name → (arguments, what the message says); PATH stands for a file written with the third entry
MISTAKES = {
    "no such verb": (["trian", TINY, "growing"], "no verb 'trian'; did you mean train?"),
    "no such file": (["plan", "nowhere.py", "it"], "no experiment file nowhere.py"),
    "no file": (["train"], "give an experiment file first"),
    "options first": (["train", "--seed", 1], "give an experiment file first"),
    "no variant": (["plan", TINY], "no variant given: name one variant of"),
    "no such variant": (
        ["train", TINY, "groing"],
        "no variant 'groing': use one of decaying, growing; did you mean growing",
    ),
    "two variants": (["train", TINY, "decaying", "growing"], "2 variants given"),
    "no such field": (
        ["plan", TINY, "growing", "--plan.max-batch", 5],
        r"no option --plan\.max-batch; did you mean --plan\.max-batch-size\? \(jbatch plan ",
    ),
    "not a number": (
        ["train", TINY, "growing", "--seed", "one"],
        "--seed is one: give a whole number",
    ),
    "no such choice": (
        ["train", TINY, "growing", "--mapping", "vmap"],
        "is vmap: give one of shard_map, pmap",
    ),
    "max under first": (
        ["plan", TINY, "growing", "--plan.max-batch-size", 20],
        "max_batch_size 20 is under the first batch, 40: give at least 40",
    ),
    "devices cannot divide": (
        ["plan", TINY, "growing", "--devices", 3],
        "batch 40 does not divide over 3 devices: use 39 or 120",
    ),
    "no devices": (
        ["plan", TINY, "growing", "--devices", 0],
        "--devices is 0: give a whole number",
    ),
    "real devices cannot divide": (
        *(["train", TINY, "growing", "--plan.batch-sizes", 20, 60, "--plan.batch-size", 20],),
        "batch 20 does not divide over 8 devices: use 16 or 24",
    ),
    "ghost batch does not fit": (
        ["train", TINY, "growing", "--task.model.norm.ghost-batch", 32],
        "batch 40 is not made of whole ghost batches of 32: use 32 or 64",
    ),
    "ghost batch of none": (
        ["train", TINY, "growing", "--task.model.norm.ghost-batch", 0],
        "ghost_batch is 0: give a whole number of at least 1",
    ),
    "two ways of growing": (
        ["plan", TINY, "growing", "--plan.growth-factor", 2],
        "growth_factor and batch_sizes .* give only one of",
    ),
    "Nesterov without momentum": (
        ["train", TINY, "growing", "--optimizer.nesterov", "--plan.momentum", 0],
        r"nesterov .*plan\.momentum is 0.*: set it",
    ),
    "another N": (
        ["train", TINY, "growing", "--plan.num-examples", 1000],
        "1,500 examples, but the plan is for 1,000: set plan.num_examples",
    ),
    "micro-batch too small": (
        ["train", TINY, "growing", "--micro-batch", 2],
        "micro_batch 2 is under 5",
    ),
    "micro-batch of none": (
        ["train", TINY, "growing", "--micro-batch", 0],
        "micro_batch is 0: give a whole number of at least 1",
    ),
    "never logs": (["train", TINY, "growing", "--log-every", 0], "log_every is 0"),
    "smoothing of all": (
        ["train", TINY, "growing", "--task.label-smoothing", 1],
        "label_smoothing is 1",
    ),
    "negative padding": (["train", TINY, "growing", "--task.augment.pad", -1], "pad is -1"),
    "negative seed": (["train", TINY, "growing", "--seed", -1], "seed is -1"),
    "no width": (["train", TINY, "growing", "--task.model.hidden", 0], "hidden is 0"),
    "only a plan": (
        ["train", "PATH", "it"],
        "has no task and no data yet, .* give Experiment",
        EXPERIMENT.format(tiny=str(TINY), change="")
        + "variants = {'it': type(growing)(plan=growing.plan)}",
    ),
    "images too small": (
        ["train", EXPERIMENTS / "imagenet_miniature.py", "true-network", "--data.shape", 32, 32, 3],
        "images of 32×32 pixels are too small for Inception-ResNet-V2",
    ),
    "no such data": (
        ["train", EXPERIMENTS / "fashion_mnist.py", "hybrid", "--data.data-dir", "."],
        "has no dataset fashion_mnist: write it with `jbatch prepare fashion_mnist --from PATH",
    ),
    "eval of nothing": (["eval", "."], "is not a run directory .it has no run.json"),
    "eval without a directory": (["eval"], "give one directory first, not 0"),
    "report of nothing": (["report", "."], "holds no run"),
    "seeds twice": (["compare", TINY, "--seeds", 1, 1], "seeds 1 1: give at least one seed"),
    "a variant twice": (["compare", TINY, "growing", "growing"], "name each variant once"),
    "one seed for several": (["compare", TINY, "--seed", 3], "single run: give --seeds"),
    "a seed too large": (["train", TINY, "growing", "--seed", 2**32], "at most 4,294,967,295"),
    "planned micro-batch": (
        ["plan", TINY, "growing", "--devices", 8, "--micro-batch", 2],
        "micro_batch 2 is under 5",
    ),
    "compare unknown variant": (["compare", TINY, "other"], "no variant 'other'"),
    "syntax": (["plan", "PATH", "it"], "does not load: SyntaxError", "variants = {"),
    "no variants": (["plan", "PATH", "it"], "has no `variants`", "x = 1"),
    "not an experiment": (
        ["plan", "PATH", "it"],
        "variant 'it' is a int, not a jbatch Experiment",
        "variants = {'it': 1}",
    ),
    "a field of another kind": (
        ["plan", "PATH", "it"],
        "does not load: plan is 'x': give Coupling",
        "from jbatch import Experiment\nvariants = {'it': Experiment(plan='x')}",
    ),
    "a dtype of another name": (
        ["plan", "PATH", "it"],
        "does not load: task.dtype is 'bf16': give one of float32, bfloat16",
        EXPERIMENT.format(tiny=str(TINY), change="")
        + "task = dataclasses.replace(growing.task, dtype='bf16')\n"
        + "variants = {'it': dataclasses.replace(growing, task=task)}",
    ),
    "negative schedule": (
        ["train", "PATH", "it"],
        r"the schedule gives -0\.\d+ at epoch 2",
        EXPERIMENT.format(tiny=str(TINY), change="schedule=optax.linear_schedule(0.1, -0.1, 4)"),
    ),
    "nan schedule": (
        ["plan", "PATH", "it"],
        "the schedule gives nan at epoch 1",
        EXPERIMENT.format(
            tiny=str(TINY), change="schedule=lambda e: jnp.where(e < 1, 0.1, jnp.nan)"
        ),
    ),
    "zero schedule": (
        ["plan", "PATH", "it"],
        "the schedule is 0 at every update",
        EXPERIMENT.format(tiny=str(TINY), change="schedule=optax.constant_schedule(0.0)"),
    ),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_message_and_exit_code_2(case, jbatch, tmp_path, monkeypatch):
    arguments, message, *source = case
    monkeypatch.chdir(tmp_path)
    if source:
        (tmp_path / "it.py").write_text(source[0])
        arguments = [tmp_path / "it.py" if a == "PATH" else a for a in arguments]
    code, out, err = jbatch(*arguments)
    assert code == 2
    assert out == ""
    assert re.search(message, err)
    assert err.startswith("jbatch: ")
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"it.py"}


def forget_the_dtype(run):
    """As nobody writes it."""
    path = run / "run.json"
    values = json.loads(path.read_text())
    del values["experiment"]["task"]["dtype"]
    path.write_text(json.dumps(values))


# What is done to a finished run's directory → (verb, message)
DAMAGES = {
    "another experiment": (
        lambda run: None,
        ["train", TINY, "growing", "--plan.num-epochs", 5, "--run-dir"],
        r"has another plan:\n\n  plan\.num_epochs is 4 there and 5\.0 here\n\n---",
    ),
    "another variant": (
        lambda run: None,
        ["train", TINY, "decaying", "--run-dir"],
        "plan.max_batch_size is 120 there and 40 here",
    ),
    "a field that it does not say": (
        forget_the_dtype,
        ["train", TINY, "growing", "--task.dtype", "bfloat16", "--run-dir"],
        "task.dtype is None there and bfloat16 here",
    ),
    "corrupt run.json": (
        lambda run: (run / "run.json").write_text('{"origin": '),
        ["train", TINY, "growing", "--run-dir"],
        "run.json is damaged",
    ),
    "run.json of something else": (
        lambda run: (run / "run.json").write_text("[]"),
        ["eval"],
        "run.json is damaged",
    ),
    "no experiment file": (
        lambda run: (run / "experiment.py").unlink(),
        ["eval"],
        "has no experiment.py",
    ),
    "damaged metrics": (
        lambda run: (run / "metrics.jsonl").write_text("{}}\n{}\n"),
        ["report"],
        "metrics.jsonl line 1 is damaged",
    ),
    "metrics that are no text": (
        lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\n"),
        ["report"],
        "metrics.jsonl line 1 is damaged",
    ),
    "no checkpoint": (
        lambda run: [path.rename(run / path.name) for path in (run / "checkpoints").iterdir()],
        ["eval"],
        "has no checkpoint yet: train it first",
    ),
    "damaged checkpoint": (
        lambda run: [path.write_bytes(b"") for path in (run / "checkpoints").rglob("*/d/*")],
        ["eval"],
        "every checkpoint under .* is damaged .of 6,000 examples: .*; of 4,500 examples: ",
    ),
    "made by another version": (
        lambda run: (run / "run.json").write_text('{"origin": null}'),
        ["report"],
        "another version of jbatch .* .its run.json has format 1, this version reads 5",
    ),
    "no environment": (
        lambda run: (run / "run.json").write_text('{"format": 5, "origin": 0, "plan_digest": 0}'),
        ["train", TINY, "growing", "--run-dir"],
        "run.json is damaged",
    ),
    "metrics of something else": (
        lambda run: (run / "metrics.jsonl").write_text("{}\n"),
        ["report"],
        "metrics.jsonl line 1 is damaged",
    ),
    "metrics without a loss": (
        lambda run: (run / "metrics.jsonl").write_text(
            '{"kind": "train", "update": 1, "examples": 40, "epoch": 0.1, "seconds": 1}\n'
        ),
        ["report"],
        "metrics.jsonl line 1 is damaged",
    ),
    "not a run directory": (
        lambda run: [(run / name).unlink() for name in ("run.json", "plan.txt")],
        ["train", TINY, "growing", "--run-dir"],
        "exists and is not a run directory",
    ),
}


# Tensorstore's threads still call the event loop of a restore that has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("case", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_foreign_run_directory_is_refused_and_left(case, trained, jbatch, tmp_path):
    damage, arguments, message = case
    directory = shutil.copytree(trained, tmp_path / "run")
    damage(directory)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    code, _, err = jbatch(*arguments, directory)
    assert code == 2
    assert re.search(message, err)
    assert "Traceback" not in err
    after = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert after == before
