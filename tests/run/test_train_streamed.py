"""Runs on streamed photographs: learning, resuming, dying, and leaving nothing behind."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import jax
import pytest

from commands import end, newest, run, start
from jbatch.errors import Mistake
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.loop import fit, run_until
from jbatch.run.metrics import read_metrics
from jbatch.run.newest import evaluate_newest
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from photographs import write_folder
from processes import left_over, python_children, shared_memory
from runs import without_times

FILE = Path(__file__).parent.parent / "tiny_photographs.py"
LONG = ("--plan.num-epochs", 4000, "--save-every", 5, "--log-every", 5)
SELDOM = ("--eval-every", 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("photographs"), 96, 25)


def experiment_of(folder, workers=0, **options):
    experiment = load_experiment_file(FILE).variant("growing")
    source = dataclasses.replace(experiment.data.source, path=folder)
    data = dataclasses.replace(experiment.data, source=source, workers=workers, **options)
    return dataclasses.replace(experiment, data=data)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "undisturbed"
    return fit(experiment_of(folder), directory, devices=jax.devices()[:1]), directory


def test_a_run_on_photographs_learns_and_says_what_it_waited_for(undisturbed):
    _, directory = undisturbed
    lines = read_metrics(directory / "metrics.jsonl")
    training = [line for line in lines if line["kind"] == "train"]
    assert training[-1]["loss"] < 0.8 * training[0]["loss"]
    assert all(0 < line["input_wait"] < 1 for line in training)
    assert [line["num_examples"] for line in lines if line["kind"] == "eval"] == [25] * 7


@pytest.mark.parametrize("stopped_at", [pytest.param(36, marks=pytest.mark.slow), 37])
def test_resumed_is_undisturbed_bit_for_bit(folder, undisturbed, tmp_path, stopped_at):
    """At the boundary of the phases, and after it from an older checkpoint; by other workers."""
    whole, directory = undisturbed
    with open_run(experiment_of(folder), tmp_path / "run", devices=jax.devices()[:1]) as begun:
        run_until(begun, stopped_at)
    resuming = experiment_of(folder, workers=37 - stopped_at)
    resumed = fit(resuming, tmp_path / "run", devices=jax.devices()[:1])
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


@pytest.mark.slow
def test_devices_and_micro_batches_give_the_same_run(folder, undisturbed, tmp_path):
    _, directory = undisturbed
    experiment = dataclasses.replace(experiment_of(folder), micro_batch=2)
    fit(experiment, tmp_path / "run", devices=jax.devices())
    for mine, theirs in zip(without_times(tmp_path / "run"), without_times(directory), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)  # as in test_train


def test_eval_of_a_finished_run(folder, undisturbed):
    _, directory = undisturbed
    update, found, _ = evaluate_newest(experiment_of(folder), directory)
    last = read_metrics(directory / "metrics.jsonl")[-1]
    assert (update, found.num_examples) == (last["update"], 25)
    assert found.scores["accuracy"] == last["accuracy"]


def test_a_held_out_split_is_evaluated_on_and_the_test_split_at_the_end(folder, tmp_path):
    experiment = experiment_of(folder)
    source = dataclasses.replace(experiment.data.source, test="train", validation="validation")
    data = dataclasses.replace(experiment.data, source=source)
    plan = dataclasses.replace(experiment.plan, num_epochs=1)
    fit(
        dataclasses.replace(experiment, data=data, plan=plan),
        tmp_path / "run",
        devices=jax.devices()[:1],
    )
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    told = [(line["kind"], line.get("num_examples")) for line in lines]
    both = [("test", 96), ("eval", 25)]
    assert told == [*both, ("train", None), *both]


def test_damaged_files_are_counted_and_named(folder, tmp_path, capsys):
    damaged = write_folder(tmp_path / "photographs", 96, 25)
    for name in ("train/cat/0004.jpg", "val/dog/0002.jpg"):
        (damaged / name).write_bytes(b"nothing")
    experiment = experiment_of(damaged, damaged="replace")
    from jbatch.run.progress import Lines

    fit(experiment, tmp_path / "run", devices=jax.devices()[:1], progress=Lines(1e9))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["damaged"] for line in lines if line["kind"] == "train"] == [1] * 6
    assert {line["num_examples"] for line in lines if line["kind"] == "eval"} == {24}
    said = capsys.readouterr().err
    assert "warning: train/cat/0004.jpg (example 33) does not decode and is replaced" in said
    assert "warning: val/dog/0002.jpg (example 17) does not decode and is left out" in said
    assert said.count("does not decode") == 2  # once each


def test_a_run_that_stopped_at_a_damaged_file_goes_on_without_it(tmp_path):
    folder = write_folder(tmp_path / "photographs", 96, 25)
    (folder / "train/cat/0004.jpg").unlink()
    for name in ("train/cat/0010.jpg", "train/cat/0013.jpg"):
        (folder / name).write_bytes(b"nothing")
    experiment = experiment_of(folder)
    plan = dataclasses.replace(experiment.plan, num_examples=95)
    experiment = dataclasses.replace(experiment, plan=plan)
    with pytest.raises(Mistake, match=r"cat/00\d\d.jpg \(.*\) does not decode \(neither a JPEG "):
        fit(experiment, tmp_path / "run", devices=jax.devices()[:1])
    data = dataclasses.replace(experiment.data, damaged="replace")
    fit(dataclasses.replace(experiment, data=data), tmp_path / "run", devices=jax.devices()[:1])


def test_a_test_set_without_a_whole_file_is_refused(tmp_path):
    folder = write_folder(tmp_path / "photographs", 96, 3)
    for path in (folder / "val").glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(Mistake, match="any example of the test set: restore the dataset"):
        fit(experiment_of(folder, damaged="replace"), tmp_path / "run", devices=jax.devices()[:1])


def test_a_set_of_another_size_is_refused_with_both_numbers(folder, tmp_path):
    experiment = experiment_of(folder)
    plan = dataclasses.replace(experiment.plan, num_examples=95)
    with pytest.raises(Mistake, match="has 96 examples, but the plan is for 95: set plan"):
        fit(dataclasses.replace(experiment, plan=plan), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def training(folder, directory, *options):
    """`jbatch train` under way, in a process group of its own, and its workers."""
    options = ("--data.source.path", folder, *options)
    process = start("train", FILE, "growing", "--run-dir", directory, *options, new_group=True)
    while not any(line["kind"] == "train" for line in read_metrics(directory / "metrics.jsonl")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    return process, python_children(process.pid)


def left_in_memory(shared):
    """Those that are still there after so long as Python's own watcher of them takes."""
    until = time.monotonic() + 60
    while any(path.exists() for path in shared) and time.monotonic() < until:
        time.sleep(0.1)
    return {path for path in shared if path.exists()}


@pytest.mark.slow
def test_a_killed_trainer_leaves_no_worker(folder, tmp_path):
    process, workers = training(folder, tmp_path / "run", *LONG, *SELDOM)
    assert len(workers) >= 4  # two that train and two that evaluate
    shared = {path for path in shared_memory(process.pid) if path.name.startswith("psm_")}
    assert len(shared) == 2
    process.kill()
    process.communicate()
    assert left_over(workers) == set()
    assert left_in_memory(shared) == set()


@pytest.mark.slow
def test_nothing_is_left_where_all_processes_are_killed_at_once(folder, tmp_path):
    """As a batch system does: neither memory nor semaphores, whatever library made them."""
    process, workers = training(folder, tmp_path / "run", *LONG, *SELDOM)
    shared = set().union(*map(shared_memory, {process.pid, *workers}))
    assert len(shared) > 4
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert left_over(workers) == set()
    assert left_in_memory(shared) == set()


@pytest.mark.slow
@pytest.mark.parametrize("which", [min, max])
def test_a_worker_that_dies_ends_the_run_with_a_message(folder, tmp_path, which):
    """One that trains at once; one that evaluates when it is needed."""
    process, workers = training(folder, tmp_path / "run", *LONG, "--eval-every", 5)
    os.kill(which(workers), signal.SIGKILL)
    begun = time.monotonic()
    code, _, err = end(process)
    assert code == 2, err
    assert "a data worker died (" in err
    assert "Traceback" not in err
    assert time.monotonic() - begun < 60  # a second or two on an idle machine
    assert left_over(workers) == set()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_saves_and_leaves_no_worker(folder, undisturbed, tmp_path, number):
    """As Ctrl-C in a terminal and a scheduler's stop send it: to the whole process group."""
    process, workers = training(folder, tmp_path / "run", *LONG, *SELDOM)
    os.killpg(process.pid, number)
    code, _, err = end(process)
    assert code == 75, err
    assert "Traceback" not in err
    assert f"{number.name} at update" in err
    assert left_over(workers) == set()
    assert newest(tmp_path / "run")[0] > 0


@pytest.mark.slow
def test_commands_end_without_workers(folder, undisturbed, tmp_path):
    whole, _ = undisturbed
    options = ("--data.source.path", folder)
    run("train", FILE, "growing", "--run-dir", tmp_path / "run", *options)
    assert newest(tmp_path / "run") == (45, parameters_digest(whole.state.params))
    assert "on 25 examples" in run("eval", tmp_path / "run")
