"""The command line: what it prints, what it refuses, and that a mistake costs nothing."""

import json
import re
import shutil
from pathlib import Path

import pytest

from commands import TINY

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


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
        *("goodput.jsonl", "lock", "micro_batch.json", "task.pkl", "plan.npz", "stated.json"),
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


@pytest.mark.usefixtures("undrawn")
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
    assert ">40 → 120</td>" in page
    before = {path: path.stat().st_mtime_ns for path in out_dir.rglob("checkpoints/*")}
    code, again, _ = jbatch("compare", TINY, "--out", out_dir)
    assert (
        again.split("in total")[0].rsplit("\n", 1)[0] == out.split("in total")[0].rsplit("\n", 1)[0]
    )
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
    assert "compare    train several variants" in out
    assert jbatch()[0] == 2
    assert jbatch("--version")[1].startswith("jbatch 0.")


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
