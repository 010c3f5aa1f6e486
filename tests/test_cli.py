"""The command line: what it prints, what it refuses, and that a mistake costs nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import start
from jbatch.cli import main

TINY = Path(__file__).parent / "tiny.py"
EXPERIMENTS = Path(__file__).parent.parent / "experiments"


# In these tests jax has eight devices: 40 and 120 divide by them.
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", str(TINY), "growing", "--run-dir", str(directory)]) == 0
    return directory


def test_plan_prints_the_table(jbatch):
    code, out, _ = jbatch("plan", EXPERIMENTS / "cifar10_effective_lr.py", "increasing-batch")
    assert code == 0
    assert "29,040 updates; with the batch kept at 128 and the rate decayed, 78,000: 62.8%" in out
    assert "Warning: from epoch 160 the batch is over N/10" in out


def test_plan_json_and_overrides(jbatch):
    code, out, _ = jbatch(
        *("plan", EXPERIMENTS / "cifar10_annealing.py", "sgd-increasing", "--json"),
        *("--plan.max-batch-size", 640),
    )
    values = json.loads(out)
    assert code == 0
    assert values["num_updates"] == 34_320
    assert values["decaying_updates"] == 78_000
    assert [phase["batch_size"] for phase in values["phases"]] == [128, 640]
    assert values["phases"][1]["learning_rate"] == [0.1, 0.004]
    assert values["phases"][1]["momentum"] == 0
    assert values["phases"][1]["first_epoch"] == 60


def test_a_ramp_on_the_command_line(jbatch):
    code, out, _ = jbatch(
        *("plan", EXPERIMENTS / "digits.py", "increasing", "--json"),
        *("--plan.growth-factor", "None", "--plan.max-batch-size", "None"),
        *("--plan.ramp", 0, 16, 10, 60),
    )
    assert code == 0
    assert [p["batch_size"] for p in json.loads(out)["phases"]] == [16, 60]


def test_plan_with_devices_that_can_share_it(jbatch):
    code, out, _ = jbatch("plan", TINY, "growing", "--devices", 8)
    assert code == 0
    assert "98 updates" in out


def test_train_says_what_came_out(trained, jbatch):
    code, out, _ = jbatch("train", TINY, "growing", "--run-dir", trained)
    assert code == 0
    assert re.match(r"98 updates: test loss 0\.\d+, accuracy \d\d\.\d\d% on 297 examples", out)
    assert re.search(r"\ngoodput \d+\.\d% of \d+\.\d s: training \d+\.\d s, ", out)
    assert {path.name for path in trained.iterdir()} == {
        *("experiment.py", "run.json", "plan.txt", "metrics.jsonl", "tensorboard", "checkpoints"),
        *("goodput.jsonl", "lock", "micro_batch.json"),
    }
    assert (trained / "experiment.py").read_text() == TINY.read_text()


def test_eval_prints_json(trained, jbatch):
    code, out, _ = jbatch("eval", trained, "--json")
    values = json.loads(out)
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert code == 0
    assert values.keys() >= {"update", "loss", "accuracy", "num_examples", "parameters_digest"}
    assert (values["update"], values["num_examples"]) == (98, 297)
    assert (values["loss"], values["accuracy"]) == (last["loss"], last["accuracy"])
    assert re.fullmatch("[0-9a-f]{64}", values["parameters_digest"])


def test_report_of_a_run_is_one_file_that_needs_no_other(trained, jbatch):
    code, out, _ = jbatch("report", trained)
    page = (trained / "report.html").read_text()
    assert code == 0
    assert out.strip() == str(trained / "report.html")
    assert "growing, seed 0" in page
    assert re.search(r"growing seed 0: goodput \d+\.\d% of \d+\.\d s: training ", page)
    assert page.count("data:image/svg+xml;base64,") == 8
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for name in ("batch_size", "learning_rate", "test_accuracy_updates", "updates"):
        assert (trained / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in ("*.png", "report.html"):
        for path in trained.glob(name):
            path.unlink()


def test_compare_trains_what_is_missing_and_reports(tmp_path, jbatch):
    out_dir = tmp_path / "out"
    code, out, err = jbatch("compare", TINY, "--out", out_dir)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if re.match(r"(decaying|growing) ", line)]
    assert [row[0] for row in rows[:2]] == ["decaying", "growing"]
    assert "40 → 120" in out
    assert "growing − decaying: " in out
    assert "4 of 4: growing seed 1: 98 updates" in err
    page = (out_dir / "report.html").read_text()
    assert "growing − decaying: " in page
    assert "<td>40 → 120</td>" in page
    before = {path: path.stat().st_mtime_ns for path in out_dir.rglob("checkpoints/*")}
    code, again, _ = jbatch("compare", TINY, "--out", out_dir)
    assert again.split("in all")[0].rsplit("\n", 1)[0] == out.split("in all")[0].rsplit("\n", 1)[0]
    assert before == {path: path.stat().st_mtime_ns for path in out_dir.rglob("checkpoints/*")}


@pytest.mark.parametrize("verb", ["plan", "train", "compare", "sweep", "eval", "report"])
def test_help_has_an_example(verb, jbatch):
    code, out, _ = jbatch(verb, "--help")
    assert code == 0
    assert f"For example: jbatch {verb} " in out
    assert f"usage: jbatch {verb} " in out


def test_help_with_a_variant_lists_its_fields(jbatch):
    code, out, _ = jbatch("train", TINY, "growing", "--help")
    assert code == 0
    assert "--plan.max-batch-size" in out
    assert "(default: 120)" in out
    assert "--run-dir" in out
    assert "schedule" not in re.findall(r"--plan\.(\S+)", out)


def test_usage(jbatch):
    code, out, _ = jbatch("--help")
    assert code == 0
    assert "compare   train several variants" in out
    assert jbatch()[0] == 2
    assert jbatch("--version")[1].startswith("jbatch 0.")


def test_no_verdict_without_the_stated_baseline(tmp_path, jbatch):
    code, out, _ = jbatch("compare", TINY, "growing", "--seeds", 0, "--out", tmp_path / "out")
    assert code == 0
    assert "40 → 120" in out
    assert "claim" not in out


def with_another_file(trained, directory, *changes):
    """A run, and a later copy of it whose experiment file was changed."""
    shutil.copytree(trained, directory / "one")
    other = shutil.copytree(trained, directory / "other")
    text = (other / "experiment.py").read_text()
    for old, new in changes:
        text = text.replace(old, new)
    (other / "experiment.py").write_text(text)
    later = (other / "run.json").stat().st_mtime + 10
    os.utime(other / "run.json", (later, later))


def test_report_of_several_experiments_is_refused(trained, tmp_path, jbatch):
    with_another_file(trained, tmp_path, ("schedule=SCHEDULE", "schedule=lambda e: SCHEDULE(e)/2"))
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 2
    assert "several experiment files" in err
    assert f"does not say what {tmp_path / 'one'} is" in err


def changed_copy(trained, directory, *overrides):
    """A run, as if it had been made with other fields."""
    shutil.copytree(trained, directory)
    values = json.loads((directory / "run.json").read_text())
    values["origin"]["overrides"] = list(overrides)
    (directory / "run.json").write_text(json.dumps(values))


def test_a_run_whose_fields_are_gone_is_left_out_of_a_report(trained, tmp_path, jbatch):
    changed_copy(trained, tmp_path / "other", "--model.hidden", "8")
    shutil.copytree(trained, tmp_path / "one")
    for name in ("one", "other"):
        file = tmp_path / name / "experiment.py"
        file.write_text(file.read_text().replace("MLP(hidden=(32,),", "SmallCNN((8,),"))
        file.write_text(file.read_text().replace("import MLP,", "import SmallCNN,"))
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 0, err
    assert "warning: a run is left out" in err
    assert (
        "changes fields in a way that its experiment does not know (any more): --model.hidden 8"
        in err
    )


def test_report_refuses_two_networks_of_one_name(trained, tmp_path, jbatch):
    shutil.copytree(trained, tmp_path / "one")
    changed_copy(trained, tmp_path / "other", "--seed", "1", "--model.hidden", "8")
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 2
    assert "are both called growing, and differ: model.hidden is [32] there and [8] here" in err


def test_report_takes_the_newest_text_of_one_experiment(trained, tmp_path, jbatch):
    found = ("An experiment small enough for a test", "What was found")
    with_another_file(trained, tmp_path, found, ("margin=5", "margin=6"))
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 0, err
    assert "What was found" in (tmp_path / "report.html").read_text()


def test_a_claim_that_was_cut_short_is_no_obstacle(tmp_path, jbatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.py").write_text("half")
    (tmp_path / "run" / "run.json.tmp").write_text("{")
    code, out, _ = jbatch("train", TINY, "growing", "--run-dir", tmp_path / "run")
    assert code == 0
    assert out.startswith("98 updates")


def test_eval_leaves_what_a_trainer_is_writing(trained, tmp_path, jbatch):
    directory = shutil.copytree(trained, tmp_path / "run")
    writing = directory / "checkpoints" / "120.orbax-checkpoint-tmp"
    writing.mkdir()
    assert jbatch("eval", directory)[0] == 0
    assert writing.exists()


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
    "no variant": (["plan", TINY], "no variant given: name one of .*: decaying, growing"),
    "no such variant": (["train", TINY, "groing"], "no variant 'groing': it has decaying, growing"),
    "two variants": (["train", TINY, "decaying", "growing"], "2 variants given"),
    "no such field": (
        ["plan", TINY, "growing", "--plan.max-batch", 5],
        r"Unrecognized.*--plan\.max-batch.*--plan\.max-batch-size",
    ),
    "not a number": (["train", TINY, "growing", "--seed", "one"], "invalid literal for int"),
    "no such choice": (["train", TINY, "growing", "--mapping", "vmap"], "vmap"),
    "max under first": (
        ["plan", TINY, "growing", "--plan.max-batch-size", 20],
        "max_batch_size 20 is under the first batch, 40: give max_batch_size >= 40",
    ),
    "devices cannot divide": (
        ["plan", TINY, "growing", "--devices", 3],
        "batch 40 does not divide over 3 devices: use 39 or 120",
    ),
    "no devices": (["plan", TINY, "growing", "--devices", 0], "devices is 0: give a whole number"),
    "real devices cannot divide": (
        *(["train", TINY, "growing", "--plan.batch-sizes", 20, 60, "--plan.batch-size", 20],),
        "batch 20 does not divide over 8 devices: use 16 or 24",
    ),
    "ghost batch does not fit": (
        ["train", TINY, "growing", "--model.norm.ghost-batch", 32],
        "batch 40 is not made of whole ghost batches of 32: use 32 or 64",
    ),
    "ghost batch of none": (
        ["train", TINY, "growing", "--model.norm.ghost-batch", 0],
        "ghost_batch is 0: give a whole number of at least 1",
    ),
    "two ways of growing": (
        ["plan", TINY, "growing", "--plan.growth-factor", 2],
        "growth_factor and batch_sizes given .* give one of",
    ),
    "Nesterov without momentum": (
        ["train", TINY, "growing", "--optimizer.nesterov", "--plan.momentum", 0],
        r"nesterov needs momentum and plan\.momentum is 0",
    ),
    "another N": (
        ["train", TINY, "growing", "--plan.num-examples", 1000],
        "training set has 1,500 examples and the plan is for 1,000",
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
        ["train", TINY, "growing", "--label-smoothing", 1],
        "label_smoothing is 1",
    ),
    "negative padding": (["train", TINY, "growing", "--augment.pad", -1], "pad is -1"),
    "negative seed": (["train", TINY, "growing", "--seed", -1], "seed is -1"),
    "no width": (["train", TINY, "growing", "--model.hidden", 0], "hidden is 0"),
    "only a plan": (
        ["train", "PATH", "it"],
        "has no model and no data yet: it can be planned",
        EXPERIMENT.format(tiny=str(TINY), change="")
        + "variants = {'it': type(growing)(plan=growing.plan)}",
    ),
    "images too small": (
        ["train", EXPERIMENTS / "imagenet_miniature.py", "true-network", "--data.shape", 32, 32, 3],
        "images of 32×32 pixels are too small for Inception-ResNet-V2",
    ),
    "no such data": (
        ["train", EXPERIMENTS / "fashion_mnist.py", "hybrid", "--data.data-dir", "."],
        "has no data set fashion_mnist: write it with `jbatch prepare fashion_mnist --from PATH",
    ),
    "eval of nothing": (["eval", "."], "is no run directory: it has no run.json"),
    "eval without a directory": (["eval"], "give one directory first, not 0"),
    "report of nothing": (["report", "."], "holds no run"),
    "seeds twice": (["compare", TINY, "--seeds", 1, 1], "--seeds 1 1: give each seed once"),
    "a variant twice": (["compare", TINY, "growing", "growing"], "name each variant once"),
    "one seed for several": (["compare", TINY, "--seed", 3], "seed is of one run: give --seeds"),
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
        "does not load: dtype is 'bf16': give one of float32, bfloat16",
        EXPERIMENT.format(tiny=str(TINY), change="")
        + "variants = {'it': dataclasses.replace(growing, dtype='bf16')}",
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
    assert re.search(message, re.sub(r"[\s│]+", " ", err))  # tyro folds its messages in a box
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"it.py"}


def forget_the_dtype(run):
    """As a version of jbatch wrote it that had no such field."""
    path = run / "run.json"
    values = json.loads(path.read_text())
    del values["experiment"]["dtype"]
    path.write_text(json.dumps(values))


# What is done to a finished run's directory → (verb, message)
DAMAGES = {
    "another experiment": (
        lambda run: None,
        ["train", TINY, "growing", "--plan.num-epochs", 5, "--run-dir"],
        r"was begun with another plan:\n\n  plan\.num_epochs is 4 there and 5\.0 here\n\n---",
    ),
    "another variant": (
        lambda run: None,
        ["train", TINY, "decaying", "--run-dir"],
        "plan.max_batch_size is 120 there and 40 here",
    ),
    "another value of a field that was not there yet": (
        forget_the_dtype,
        ["train", TINY, "growing", "--dtype", "bfloat16", "--run-dir"],
        "dtype is float32 there and bfloat16 here",
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
        "no checkpoint under .* is whole .of 6,000 examples: .*; of 4,500 examples: ",
    ),
    "no environment": (
        lambda run: (run / "run.json").write_text('{"origin": 0, "plan_digest": 0}'),
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
        "exists and is no run directory",
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


def test_plan_imports_nothing_that_only_training_needs():
    script = (
        "import sys; from jbatch.cli import main; "
        f"main(['plan', {str(EXPERIMENTS / 'digits.py')!r}, 'increasing']); "
        "print([m for m in ('flax.nnx', 'flax.linen', 'orbax', 'tensorflow_datasets', 'sklearn', "
        "'matplotlib', 'tensorboardX', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def in_a_process(script):
    """A program that calls `jbatch.cli.command_line` as the installed one does."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_an_early_ctrl_c_ends_at_once():
    assert in_a_process(
        "import os, signal, time; from jbatch import cli\n"
        "cli.main = lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(50)\n"
        "cli.command_line()"
    ) == (130, "jbatch: SIGINT: stopped before anything was saved\n")


def test_a_run_that_stops_does_not_wait_for_what_is_being_compiled():
    code, err = in_a_process(
        "import time; from concurrent.futures import ThreadPoolExecutor\n"
        "from jbatch import cli\nfrom jbatch.step import aot\n"
        "pool = ThreadPoolExecutor(1, aot.THREADS); pool.submit(time.sleep, 50)\n"
        "pool.shutdown(wait=False); cli.main = lambda: 75\n"
        "cli.command_line()"
    )
    assert (code, err) == (75, "")


def test_training_goes_on_when_nobody_reads_its_messages(tmp_path):
    warned = ("--plan.momentum", 0.98)
    with start("train", TINY, "growing", "--run-dir", tmp_path / "run", *warned) as process:
        process.stderr.close()
        assert process.wait(timeout=120) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["update"] == 98


def test_what_cannot_be_written_is_one_message(trained, tmp_path, jbatch):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "report.html").mkdir()
    code, _, err = jbatch("report", run, "--trust")
    assert code == 2
    assert re.fullmatch(r"jbatch: .*report\.html: Is a directory\n", err)
    assert not list(run.glob("*.tmp"))
