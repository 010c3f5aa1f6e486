"""A run from end to end, in this process."""

import dataclasses
import json
import math
import time
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jbatch.data.image.normalize import affine
from jbatch.data.sources import Arrays, Digits
from jbatch.errors import Mistake
from jbatch.models import MLP
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Update
from jbatch.run.build import make_setup
from jbatch.run.checkpoint import Checkpoints, parameters_digest
from jbatch.run.directory import read_run
from jbatch.run.evaluate import evaluate
from jbatch.run.log import Diverged
from jbatch.run.loop import fit, run_until
from jbatch.run.metrics import read_metrics
from jbatch.run.newest import evaluate_newest
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from jbatch.step import programs
from jbatch.step.programs import Evaluate
from jbatch.task import classifier
from runs import without_times
from small_runs import when_awaited

TINY = load_experiment_file(Path(__file__).parent.parent / "tiny.py")
GROWING = TINY.variant("growing")


def metrics(directory) -> list[dict]:
    return read_metrics(directory / "metrics.jsonl")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "undisturbed"
    return fit(GROWING, directory, devices=jax.devices()[:1]), directory


def test_a_run_learns_and_logs_every_epoch(undisturbed):
    run, directory = undisturbed
    lines = metrics(directory)
    training = [line for line in lines if line["kind"] == "train"]
    evaluations = [line for line in lines if line["kind"] == "eval"]
    assert [line["epoch"] for line in training] == [1, 2, 3, 4]
    assert [line["epoch"] for line in evaluations] == [0, 1, 2, 3, 4]
    assert [line["batch_size"] for line in training] == [40, 40, 120, 120]
    assert [line["update"] for line in training] == [37, 74, 86, 98]
    assert training[0].keys() >= {
        "update",
        "examples",
        "epoch",
        "batch_size",
        "learning_rate",
        "noise_scale",
        "loss",
        "accuracy",
        "updates_per_second",
        "examples_per_second",
    }
    assert training[-1]["noise_scale"] == run.plan.noise_scale(97)
    assert evaluations[0]["accuracy"] < 0.3
    assert 0.80 < evaluations[-1]["accuracy"] < 0.97  # what this little net reaches
    assert all(line["num_examples"] == 297 for line in evaluations)


def test_tensorboard_events_hold_the_same(undisturbed):
    _, directory = undisturbed
    [events] = (directory / "tensorboard").iterdir()
    contents = events.read_bytes()
    for tag in (b"train/loss", b"train/batch_size", b"eval/accuracy"):
        assert tag in contents


def test_training_loss_is_the_mean_over_the_interval(undisturbed):
    """The first line again, from the step's own losses."""
    run, directory = undisturbed
    line = metrics(directory)[1]
    setup, data = make_setup(GROWING, run.plan, jax.devices()[:1])
    state = programs.initializer(setup)(np.uint32(0))
    feed = data.feed(setup.mesh, 0)
    layout = Layout(40, 1, 40)
    update, losses = programs.compiled(setup, Update(layout)), []
    for row in map(run.plan.at, range(37)):
        told = programs.told(setup, [programs.how(row.learning_rate, 1, 40)])
        state, loss = update(state, told, *feed.arguments(row.position, layout))
        losses.append(float(loss))
    assert line["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_running_again_trains_nothing_more(undisturbed):
    run, directory = undisturbed
    before = metrics(directory)
    again = fit(GROWING, directory, devices=jax.devices()[:1])
    assert metrics(directory) == before
    assert parameters_digest(again.state.params) == parameters_digest(run.state.params)


@pytest.mark.parametrize("stopped_at", [20, 74, 75, 90])
def test_resumed_is_undisturbed_bit_for_bit(undisturbed, tmp_path, stopped_at):
    """Left without saving at some update, as a kill leaves it: the last checkpoint is older."""
    whole, directory = undisturbed
    with open_run(GROWING, tmp_path / "run", devices=jax.devices()[:1]) as run:
        run_until(run, stopped_at)
    resumed = fit(GROWING, tmp_path / "run", devices=jax.devices()[:1])
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


@pytest.mark.slow
def test_bfloat16_resumes_bit_for_bit(tmp_path):
    half = dataclasses.replace(GROWING, task=dataclasses.replace(GROWING.task, dtype="bfloat16"))
    whole = fit(half, tmp_path / "whole", devices=jax.devices()[:1])
    with open_run(half, tmp_path / "run", devices=jax.devices()[:1]) as run:
        run_until(run, 75)
    resumed = fit(half, tmp_path / "run", devices=jax.devices()[:1])
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)


def test_one_update_a_call_is_the_same_run(undisturbed, tmp_path):
    run, directory = undisturbed
    assert run.job.setup.updates_per_call > 1
    one = dataclasses.replace(GROWING, updates_per_call=1)
    fit(one, tmp_path / "run", devices=jax.devices()[:1])
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(directory), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)  # as below
        assert mine["update"] == theirs["update"]


def test_a_run_goes_on_with_other_devices(undisturbed, tmp_path, capsys):
    _, directory = undisturbed
    with open_run(GROWING, tmp_path / "run", devices=jax.devices()[:1]) as run:
        run_until(run, 75)
    fit(GROWING, tmp_path / "run", devices=jax.devices())
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(directory), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)  # as below


def test_the_real_experiment_shrunk(tmp_path):
    """experiments/digits.py for 16 of its 50 epochs, to a window of accuracy."""
    file = load_experiment_file(Path(__file__).parent.parent.parent / "experiments" / "digits.py")
    experiment = file.variant("increasing")
    experiment = dataclasses.replace(
        experiment, plan=dataclasses.replace(experiment.plan, num_epochs=16)
    )
    fit(experiment, tmp_path / "run", devices=jax.devices()[:1])
    # Five seeds gave 0.90 to 0.95.
    assert 0.86 < metrics(tmp_path / "run")[-1]["accuracy"] < 0.98


def test_speeds_are_of_training_alone(tmp_path, monkeypatch):
    """A compilation that the run waits for, and a slow evaluation, are in no updates/s."""
    compiled, awaited = programs.compiled, when_awaited(monkeypatch, 40)

    def slower(setup, call):
        if isinstance(call, Update) and call.layout.size == 40:
            awaited.wait()
            time.sleep(0.5)
        return compiled(setup, call)

    monkeypatch.setattr(programs, "compiled", slower)
    run = fit(dataclasses.replace(GROWING, seed=9), tmp_path / "run", devices=jax.devices()[:1])
    training = [line for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    updates = np.diff([0, *(line["update"] for line in training)])
    seconds = sum(updates / [line["updates_per_second"] for line in training])
    assert run.clock.ledger.seconds["compilation"] >= 0.5
    seconds += run.clock.training  # what came after the last line
    assert run.clock.ledger.seconds["training"] == pytest.approx(seconds, rel=1e-3)  # as logged
    total = run.clock.until - run.begun
    assert sum(run.clock.ledger.seconds.values()) == pytest.approx(total)
    examples = sum(updates * [line["batch_size"] for line in training])
    rates = [line["examples_per_second"] / line["updates_per_second"] for line in training]
    assert sum(updates * rates) == pytest.approx(examples)


def test_micro_batches_and_devices_give_the_same_run(undisturbed, tmp_path):
    """Eight devices, 5 examples each at a time, ghost batches over all of them."""
    _, directory = undisturbed
    experiment = dataclasses.replace(GROWING, micro_batch=5)
    fit(experiment, tmp_path / "run", devices=jax.devices())
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(directory), strict=True):
        # 98 updates of rounding, in a net that is still moving fast; see test_step's tolerance.
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert mine["update"] == theirs["update"]


def test_a_seed_more_compiles_nothing(tmp_path):
    fit(GROWING, tmp_path / "first", devices=jax.devices()[:1])
    cached = (programs.compiled, programs.initializer)
    before = [function.cache_info().misses for function in cached]
    fit(dataclasses.replace(GROWING, seed=1), tmp_path / "run", devices=jax.devices()[:1])
    assert [function.cache_info().misses for function in cached] == before


def test_evaluate_newest_is_the_runs_own_last_evaluation(undisturbed):
    run, directory = undisturbed
    update, found, digest = evaluate_newest(GROWING, directory)
    last = metrics(directory)[-1]
    assert (update, found.num_examples) == (98, 297)
    assert found.scores["accuracy"] == last["accuracy"]
    # On eight devices here, on one there.
    assert found.scores["loss"] == pytest.approx(last["loss"], rel=1e-6)
    assert digest == parameters_digest(run.state.params)


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_evaluation_counts_each_example_once(devices):
    """Sets that do not divide: right and wrong are counted against a plain computation."""
    dataset = Digits().load()
    count = 1001 if devices == 1 else 700
    test = {name: values[:count] for name, values in dataset.train.items()}
    data = Arrays(dataset.train, test, num_classes=10)
    experiment = dataclasses.replace(
        GROWING,
        data=data,
        task=dataclasses.replace(GROWING.task, model=MLP((8,))),
        plan=dataclasses.replace(GROWING.plan, batch_size=24, batch_sizes=(24, 120)),
    )
    setup, loaded = make_setup(experiment, experiment.make_plan(), jax.devices()[:devices])
    state = programs.initializer(setup)(np.uint32(0))
    on_devices = loaded.test(setup.mesh, setup.evaluation_size)
    found = evaluate(setup, programs.compiled(setup, Evaluate()), state, on_devices)

    shift, factor = affine("standardize", dataset.train["image"])
    images = (test["image"].astype(np.float32) - shift) * factor
    (logits,), _ = classifier.forward(setup.task, state.params, state.stats, images, None)
    expected = float((np.asarray(logits).argmax(1) == test["label"]).mean())
    assert found.num_examples == count
    assert found.scores["accuracy"] == pytest.approx(expected, abs=1e-9)


def diverging(save_every):
    """Two good epochs, then a rate that blows up."""
    plan = dataclasses.replace(
        GROWING.plan,
        schedule=optax.join_schedules(
            [optax.constant_schedule(0.05), optax.constant_schedule(1e30)], [2]
        ),
        max_batch_size=40,
    )
    return dataclasses.replace(GROWING, plan=plan, save_every=save_every)


@pytest.mark.parametrize("save_every", [1, 0.1])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, save_every):
    said = (
        r"not finite between updates .* rate 1e\+30\)\. .* update 7[4-6]\. Lower the learning rate"
    )
    with pytest.raises(Diverged, match=said):
        fit(diverging(save_every), tmp_path / "run", devices=jax.devices()[:1])
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), jax.devices()[:1])
    run_id = read_run(tmp_path / "run")["id"]
    with closing(Checkpoints(tmp_path / "run" / "checkpoints", pytest.fail, run_id)) as checkpoints:
        examples, state = checkpoints.restore(programs.initializer(setup)(np.uint32(0)))
    # From the second epoch's end, or a tenth of one after it while all was finite yet.
    assert 74 <= diverging(save_every).plan.plan().update_at(examples) <= 76
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    *lines, last = metrics(tmp_path / "run")
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert last["kind"] == "diverged"


def test_distances_are_of_the_parameters_and_change_nothing(undisturbed, tmp_path):
    experiment = dataclasses.replace(GROWING, measure_distance=True)
    run = fit(experiment, tmp_path / "run", devices=jax.devices()[:1])
    first = programs.initializer(run.job.setup)(np.uint32(0)).params
    squares = jax.tree.map(lambda a, b: np.square(np.float64(a) - b).sum(), run.state.params, first)
    lines = [line for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    assert lines[-1]["distance"] == pytest.approx(sum(jax.tree.leaves(squares)) ** 0.5, rel=1e-5)
    assert lines[0]["moved"] == lines[0]["distance"]
    assert lines[1]["distance"] <= lines[0]["distance"] + lines[1]["moved"]
    assert 0 < lines[-1]["moved"] < lines[-1]["distance"]
    before, _ = undisturbed
    assert parameters_digest(run.state.params) == parameters_digest(before.state.params)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    directory = tmp_path / "run"
    with open_run(GROWING, directory, devices=jax.devices()[:1]) as run:
        run_until(run, 40)
    # As if it had been killed later, while a line was being written.
    with (directory / "metrics.jsonl").open("a") as file:
        line = metrics(directory)[-1] | {"update": 60, "examples": 2400}
        file.write(json.dumps(line) + "\n")
        file.write('{"kind": "train", "upd')
    with open_run(GROWING, directory, devices=jax.devices()[:1]) as run:
        assert run.update == 37
    assert [line["update"] for line in metrics(directory)] == [0, 37, 37]


def test_an_evaluation_that_is_missing_is_made_again(tmp_path):
    fit(GROWING, tmp_path / "run", devices=jax.devices()[:1])
    (tmp_path / "run" / "metrics.jsonl").unlink()
    fit(GROWING, tmp_path / "run", devices=jax.devices()[:1])
    [line] = metrics(tmp_path / "run")
    assert (line["kind"], line["update"]) == ("eval", 98)


def test_what_cannot_be_trained_writes_nothing(tmp_path):
    wrong = {
        "set plan.num_examples to 1500": dataclasses.replace(
            GROWING, plan=dataclasses.replace(GROWING.plan, num_examples=1400)
        ),
        "does not divide over 8 devices": dataclasses.replace(
            GROWING,
            plan=dataclasses.replace(GROWING.plan, batch_size=42, batch_sizes=(42, 126)),
        ),
        "micro_batch 1 is under": dataclasses.replace(GROWING, micro_batch=1),
    }
    for said, experiment in wrong.items():
        with pytest.raises(Mistake, match=said):
            fit(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()
