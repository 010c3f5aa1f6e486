"""Runs that decide on their batch size: what they write, resume, repeat and refuse.

Real kills: `benchmarks/adaptive_kills.py`, a few of them here. Several processes:
distributed/test_adaptive_cluster.py.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jbatch as jb
from benchmarks import adaptive_kills
from commands import TINY, environment_of
from jbatch import testing
from jbatch.errors import Mistake
from jbatch.experiment.overrides import override
from jbatch.report.read import read_record
from jbatch.run.build import counted
from jbatch.run.decisions import read_decisions
from jbatch.run.metrics import read_metrics
from jbatch.run.replay import replayed
from runs import without_times
from trained_runs import ONE, Ended, same

ROOT = Path(adaptive_kills.__file__).parent.parent
ADAPTIVE = replace(
    adaptive_kills.experiment("noise_scale"), save_every=1, log_every=0.7, keep_every=2
)
SIZES = (20, 40, 60, 120)


def growths(directory):
    return [
        (line["update"], line["examples"], line["next_batch_size"])
        for line in read_decisions(directory)
        if line["next_batch_size"] != line["batch_size"]
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    directory = tmp_path_factory.mktemp("adaptive") / "run"
    return jb.fit(ADAPTIVE, directory, devices=ONE), directory


def test_the_batch_grows_by_what_is_measured_among_the_sizes_allowed(straight):
    run, directory = straight
    lines = read_decisions(directory)
    assert [line["update"] for line in lines] == list(range(25, run.plan.num_updates, 25))
    assert growths(directory)
    for line in lines:
        assert line["batch_size"] in SIZES
        scale = line.get("noise/simple", 0)
        within = [size for size in SIZES if size <= 1.5 * scale] if scale else []
        wanted = max([line["batch_size"], *within])
        assert line["next_batch_size"] == (
            wanted if line["measured_updates"] >= 20 else line["batch_size"]
        )
    # The plan is an ordinary one, in which everything else is looked up.
    assert run.examples == run.plan.end == 4 * 1500
    phases = [(phase.first_update, phase.batch_size) for phase in run.plan.phases[1:]]
    assert phases == [(update, size) for update, _, size in growths(directory)]
    schedule = optax.cosine_decay_schedule(0.05, 4)
    for update in (0, *(first for first, _ in phases)):
        row = run.plan.at(update)
        rate = float(schedule(np.float32(row.epoch))) * row.batch_size / 20
        assert row.learning_rate == pytest.approx(rate, rel=1e-5)


def test_a_report_and_the_lines_of_metrics_read_what_was_decided(straight):
    run, directory = straight
    record = read_record(directory)
    assert record.finished
    assert record.plan.digest == run.plan.digest
    assert record.updates == run.plan.num_updates
    sizes = [line["batch_size"] for line in read_metrics(directory / "metrics.jsonl")]
    assert sizes == sorted(sizes)
    assert sizes[-1] == run.plan.batch_sizes[-1]


def test_checkpoints_that_stay_are_those_of_the_decided_plan(straight):
    run, directory = straight
    kept = {int(path.name) for path in (directory / "checkpoints").iterdir()}
    assert {run.plan.position(update) for update in run.job.moments.kept} <= kept


def test_the_run_is_printed(straight, jbatch):
    _, directory = straight
    code, out, err = jbatch("plan", directory)
    assert code == 0, err
    assert (directory / "plan.txt").read_text() in out
    assert "Decided while the run trains, among 20, 40, 60, 120: " in out
    for update, examples, size in growths(directory):
        assert any(
            line.split()[:2] == [f"{update:,}", f"{examples:,}"] and f" {size} " in line
            for line in out.splitlines()
        )
    code, out, err = jbatch("plan", directory, "--json")
    assert code == 0, err
    assert json.loads(out)["decisions"] == read_decisions(directory)
    code, _, err = jbatch("plan", directory, "--predict")
    assert code == 2
    assert "with --json as its only option" in err


def test_a_replay_is_the_same_run_as_a_fixed_plan(straight, tmp_path):
    run, directory = straight
    again = override(ADAPTIVE, replayed(directory, ADAPTIVE), "jbatch train")
    assert not again.adapts
    repeated = jb.fit(again, tmp_path / "run", devices=ONE)
    assert repeated.plan.digest == run.plan.digest
    assert same(repeated.state.params, run.state.params)
    assert same(repeated.state.optimizer, run.state.optimizer)
    assert without_times(tmp_path / "run") == without_times(directory)
    assert read_decisions(tmp_path / "run") == []
    with pytest.raises(Mistake, match="has decided nothing, because its plan was fixed"):
        replayed(stopped_fixed(tmp_path), ADAPTIVE)


def test_what_cannot_be_replayed_is_said_in_one_message(straight, tmp_path, jbatch):
    train = ("train", TINY.with_name("adapting.py"), "noise", "--run-dir", tmp_path / "run")
    code, _, err = jbatch(*train, "--replay", straight[1])
    assert (code, err.count("\n")) == (2, 1)
    assert "decided has batch 60, and the plan allows 20, 40: use these" in err
    code, _, err = jbatch(*train, "--replay", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "is not a run directory" in err
    assert not (tmp_path / "run").exists()


def stopped_fixed(folder):
    """A run whose plan was fixed."""
    plan = replace(ADAPTIVE.plan, num_epochs=1)
    jb.fit(replace(ADAPTIVE, plan=plan, adaptive=None), folder / "fixed", devices=ONE)
    return folder / "fixed"


@pytest.mark.parametrize("place", ["decision", "save begins", "phase begins"])
def test_a_run_that_stops_around_its_growth_ends_the_same(straight, tmp_path, monkeypatch, place):
    """By an exception, in this process; the kills are below."""
    run, directory = straight
    first = growths(directory)[0]

    def stop(value):
        if place == "decision":  # the line of the growth is about to be written
            line = json.loads(value)
            reached = line["next_batch_size"] != line["batch_size"]
        else:
            reached = growths(tmp_path / "run")
        if reached:
            raise Ended
        return value

    with monkeypatch.context() as patched:
        patched.setitem(testing._armed, place, stop)
        with pytest.raises(Ended):
            jb.fit(ADAPTIVE, tmp_path / "run", devices=ONE)
    if place != "decision":  # it stands before it takes effect
        assert growths(tmp_path / "run") == [first]
    if place == "phase begins":
        (tmp_path / "run" / "plan.jsonl").unlink()  # the checkpoint has it too
    resumed = jb.fit(ADAPTIVE, tmp_path / "run", devices=ONE)
    assert same(resumed.state, run.state)
    assert without_times(tmp_path / "run") == without_times(directory)
    if place == "phase begins":
        assert growths(tmp_path / "run")[0][1:] == first[1:]
    else:
        assert read_decisions(tmp_path / "run") == read_decisions(directory)


def kills(count, *options):
    command = (sys.executable, "-m", "benchmarks.adaptive_kills", "--kills", str(count), *options)
    done = subprocess.run(
        command, cwd=ROOT, env=environment_of(1), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"with {count} kills bit for bit the undisturbed one: yes" in done.stdout
    assert "replayed bit for bit: yes" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("count", "rule"), [(1, "noise_scale"), (5, "loss_stall")])
def test_a_run_that_is_killed_ends_the_same(count, rule):
    kills(count, "--rule", rule)


def streamed():
    digits = jb.Digits().load()
    parts = [
        [
            {"image": image.astype(np.float32) / 16, "label": label}
            for image, label in zip(split["image"], split["label"], strict=True)
        ]
        for split in (digits.train, digits.test)
    ]
    return jb.Source(train=parts[0], test=parts[1], num_classes=10, workers=0)


def test_a_stream_follows_the_decisions(tmp_path):
    """And ends as the fixed plan does, whose stream knows all sizes from the beginning."""
    stalls = jb.Adaptive(jb.LossStall(patience=1, least=0.5), every=10)
    stream = replace(
        ADAPTIVE,
        plan=replace(ADAPTIVE.plan, num_epochs=1),
        task=jb.Classify(jb.MLP((16,)), normalize="none"),
        data=streamed(),
        adaptive=stalls,
    )
    run = jb.fit(stream, tmp_path / "run", devices=ONE)
    assert [size for _, _, size in growths(tmp_path / "run")] == [40, 60]
    again = override(stream, replayed(tmp_path / "run", stream), "jbatch train")
    assert same(jb.fit(again, tmp_path / "again", devices=ONE).state.params, run.state.params)


@pytest.mark.slow
def test_devices_decide_together(tmp_path):
    """Each device is a part."""
    plan = replace(ADAPTIVE.plan, num_epochs=1, batch_size=40, batch_sizes=(40, 80))
    whole = replace(ADAPTIVE, plan=plan, micro_batch=40)
    run = jb.fit(whole, tmp_path / "run", devices=jax.devices()[:2])
    assert run.plan.sizes == (40, 80)
    assert read_decisions(tmp_path / "run")


REFUSED = {
    "unmeasured": ({"measure_noise": False}, "NoiseScale, which reads .* give measure_noise=True"),
    "no size": (
        {"plan": replace(ADAPTIVE.plan, batch_sizes=None)},
        "chooses among 2 to 64 sizes, and the plan allows 1",
    ),
    "a ramp": (
        {"plan": replace(ADAPTIVE.plan, batch_sizes=None, ramp={0: 20, 1: 60})},
        "plan.ramp says when: leave out one",
    ),
    "growth": ({"plan": replace(ADAPTIVE.plan, growth=0.5)}, "growth would too"),
    "adam's metric": (
        {"adaptive": jb.Adaptive(jb.NoiseScale(metric="adam"))},
        "the optimizer keeps no second moments",
    ),
    "one group": (
        {"task": jb.Classify(jb.MLP((8,), norm=jb.GhostBatchNorm(20))), "micro_batch": 20},
        "adaptive.rule reads the measured noise, but the gradient noise of batch 20 is not",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_adapt(name, tmp_path):
    changes, message = REFUSED[name]
    with pytest.raises(Mistake, match=message):
        jb.fit(replace(ADAPTIVE, **changes), tmp_path / "run", devices=ONE)
    assert not (tmp_path / "run").exists()


def test_the_example_of_the_page_adapts():
    page, values = (ROOT / "docs" / "adaptive.md").read_text(), {}
    exec(page.partition("```python\n")[2].partition("```")[0], values)
    experiment = values["variants"]["adaptive"]
    assert experiment.adapts
    assert counted(experiment).make_plan().sizes == (32, 64, 128, 256)


def test_phases_are_not_known_beforehand(tmp_path):
    with pytest.raises(Mistake, match="decides on its phases while it trains: leave it out"):
        jb.fit(ADAPTIVE, tmp_path / "run", devices=ONE, until_phase=1)


def test_other_sizes_to_choose_from_are_another_plan(straight, tmp_path):
    """The rows that the run begins with are the same: batch size 20 throughout."""
    _, directory = straight
    shutil.copytree(directory, tmp_path / "run")
    fewer = replace(ADAPTIVE, plan=replace(ADAPTIVE.plan, batch_sizes=SIZES[:-1]))
    with pytest.raises(Mistake, match=r"plan\.batch_sizes"):
        jb.fit(fewer, tmp_path / "run", devices=ONE)
