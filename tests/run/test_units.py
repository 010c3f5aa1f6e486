"""Runs whose plan counts tokens, examples or updates."""

import dataclasses

import numpy as np
import optax
import pytest

import jbatch as jb
from jbatch import Coupling, Mistake
from jbatch.run.build import make_setup
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.job import _moments
from jbatch.run.metrics import read_metrics
from jbatch.run.progress import Lines
from runs import without_times
from trained_runs import ONE, TUNED

N, PIXELS = 1500, 64
PER_EPOCH = {"epochs": 1, "examples": N, "tokens": N * PIXELS, "updates": N // 50}


def counting(unit):
    """An experiment of two epochs; the rate falls after the first."""
    each = PER_EPOCH[unit]
    return dataclasses.replace(
        TUNED,
        plan=Coupling(
            optax.piecewise_constant_schedule(0.05, {each: 0.5}),
            length=2 * each,
            unit=unit,
            sequence_length=PIXELS,
            batch_size=50,
            batch_sizes=(50, 100),  # exact in float32 too
        ),
        log_every=each / 2,
        eval_every=each,
        save_every=each / 5,
        keep_every=2 * each,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Unit → (finished run, directory)."""
    runs = {}
    for unit in PER_EPOCH:
        directory = tmp_path_factory.mktemp(unit) / "run"
        runs[unit] = jb.fit(counting(unit), directory, devices=ONE), directory
    return runs


@pytest.mark.parametrize("unit", ["examples", "tokens", "updates"])
def test_a_run_is_the_same_in_every_unit(trained, unit):
    run, directory = trained[unit]
    expected, beside = trained["epochs"]
    assert parameters_digest(run.state.params) == parameters_digest(expected.state.params)
    assert without_times(directory) == without_times(beside)
    lines = read_metrics(directory / "metrics.jsonl")
    assert [line["epoch"] for line in lines if line["kind"] == "train"] == [
        0.5,
        1,
        2300 / N,
        2,
    ]


@pytest.mark.parametrize("unit", PER_EPOCH)
def test_intervals_count_the_plans_unit(unit):
    experiment = counting(unit)
    plan = dataclasses.replace(experiment.plan, num_examples=N).plan()
    moments = _moments(experiment, plan, make_setup(experiment, plan, ONE)[0])
    assert moments.logs == {15, 30, 38, 45}
    assert moments.evaluations == {0, 30, 45}
    assert moments.saves == {6, 12, 18, 24, 30, 33, 36, 39, 42, 45}
    assert moments.kept == {45}


def test_without_intervals_an_epoch_is_one_in_every_unit():
    experiment = dataclasses.replace(
        counting("tokens"), log_every=None, eval_every=None, save_every=None, keep_every=None
    )
    plan = dataclasses.replace(experiment.plan, num_examples=N).plan()
    moments = _moments(experiment, plan, make_setup(experiment, plan, ONE)[0])
    assert (moments.logs, moments.evaluations) == ({30, 45}, {0, 30, 45})
    assert moments.saves == {30, 45}  # the phase, and the end
    assert moments.kept == frozenset()


def test_a_ramp_may_shrink_as_it_trains(tmp_path):
    experiment = dataclasses.replace(
        TUNED,
        plan=Coupling(
            optax.constant_schedule(0.05),
            num_epochs=1.5,
            ramp={0: 50, 0.5: 150, 1: 50},
            allow_shrink=True,
        ),
        log_every=0.5,
    )
    jb.fit(experiment, tmp_path / "run", devices=ONE)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    sizes = [(line["update"], line["batch_size"]) for line in lines if line["kind"] == "train"]
    assert sizes == [(15, 50), (20, 150), (35, 50)]


def test_a_line_counts_tokens(capsys):
    plan = dataclasses.replace(counting("tokens").plan, num_examples=N).plan()
    line = {"update": 15, "examples": 750, "epoch": 0.5, "phase": 0, "batch_size": 50}
    line |= {"learning_rate": 0.05, "loss": 0.5, "updates_per_second": 10.0}
    line |= {"examples_per_second": 500.0, "input_wait": 0.0}
    lines = Lines(seconds_between=0)
    lines.begin("tokens", plan, 0)
    lines.logged(line)
    assert capsys.readouterr().err.startswith("tokens: 48,000/192,000 tokens  phase 1/2  batch 50")


def test_a_stream_without_data_is_planned_but_not_trained(tmp_path):
    stream = dataclasses.replace(counting("tokens"), data=None)
    assert stream.plan.plan().num_examples is None
    with pytest.raises(Mistake, match="this experiment has no data yet, so it can be planned"):
        jb.fit(stream, tmp_path / "run", devices=ONE)
    assert not (tmp_path / "run").exists()


class Endless:
    """More records than an order can hold."""

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        return {"image": np.zeros((8, 8, 1), np.uint8), "label": np.int32(0)}


def test_more_examples_than_an_order_holds_are_refused(tmp_path):
    data = jb.Source(train=Endless(), test=[Endless()[0]], num_classes=10, workers=0)
    task = dataclasses.replace(TUNED.task, normalize="none")
    stream = dataclasses.replace(counting("tokens"), data=data, task=task)
    with pytest.raises(Mistake, match=r"2,147,483,648 examples. Ordering an epoch .* give a part"):
        jb.fit(stream, tmp_path / "run", devices=ONE)
    assert not (tmp_path / "run").exists()


def test_a_stream_hears_nothing_of_epochs():
    """Not of N/10, of momentum's memory in epochs, nor that its schedule is not over epochs."""
    for unit, length in {"examples": 1280.0, "tokens": 1280.0 * PIXELS, "updates": 20.0}.items():
        plan = jb.couple(
            optax.constant_schedule(0.1),
            unit=unit,
            length=length,
            sequence_length=PIXELS,
            batch_size=64,
            growth_factor=2,
            max_batch_size=640,
            momentum=0.99,
        )
        (warning,) = plan.warnings
        assert warning.startswith("the batch never grows")
        assert "epoch" not in str(plan)


def test_intervals_name_the_unit():
    with pytest.raises(Mistake, match=r"log_every is 0.0: give a number of tokens over 0"):
        dataclasses.replace(counting("tokens"), log_every=0)
