"""Runs that measure their gradient noise scale: what they log, and that they resume to the bit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import jbatch as jb
from commands import TINY
from jbatch import GhostBatchNorm
from jbatch.report.figures import figures
from jbatch.report.read import read_record
from jbatch.run.build import counted
from jbatch.run.log import noise_of
from jbatch.run.metrics import read_metrics
from jbatch.run.start import open_run
from jbatch.step.noise import Noise
from runs import without_times
from trained_runs import ONE, TUNED, Ended, same

MEASURED = dataclasses.replace(TUNED, measure_noise=True)
FIELDS = {"noise/gradient_squared", "noise/trace", "noise/simple", "noise/batch_over_simple"}


def end_at(epoch):
    def end(line):
        if line["kind"] == "train" and line["epoch"] >= epoch:
            raise Ended

    return end


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    directory = tmp_path_factory.mktemp("noise") / "run"
    return jb.fit(MEASURED, directory, devices=ONE), directory


def training(directory):
    return [line for line in read_metrics(directory / "metrics.jsonl") if line["kind"] == "train"]


def test_every_line_of_training_holds_it(straight):
    run, directory = straight
    lines = training(directory)
    assert len(lines) == 4
    for line in lines:
        assert line.keys() >= FIELDS
        ratio = line["noise/trace"] / line["noise/gradient_squared"]
        assert line["noise/simple"] == pytest.approx(ratio)
        assert line["noise/batch_over_simple"] == pytest.approx(50 / ratio)
    # Every 16th of 120 updates.
    assert float(run.state.noise.weight) == pytest.approx(1 - np.exp(-8 / 100), rel=1e-5)


def test_calls_of_several_updates_leave_those_alone_that_measure(tmp_path):
    with open_run(counted(MEASURED), tmp_path / "run", devices=ONE) as run:
        called = []
        while run.update < 35:
            called.append(len(run.next_rows(120)))
            run.update += called[-1]
    assert called == [1, 10, 5, 1, 10, 3, 2, 1, 10]


def test_a_run_that_stops_measures_the_same(straight, tmp_path):
    run, directory = straight
    with pytest.raises(Ended):
        jb.fit(MEASURED, tmp_path / "run", devices=ONE, on=[end_at(2.5)])
    resumed = jb.fit(MEASURED, tmp_path / "run", devices=ONE)
    assert same(resumed.state, run.state)
    assert without_times(tmp_path / "run") == without_times(directory)


def test_the_plan_prints_what_the_run_has_measured(straight, jbatch):
    lines = training(straight[1])
    scale = np.mean([line["noise/trace"] for line in lines]) / np.mean(
        [line["noise/gradient_squared"] for line in lines]
    )
    code, out, err = jbatch("plan", TINY, "growing", "--noise-from", straight[1], "--json")
    assert code == 0, err
    assert json.loads(out)["growth_cost"]["gradient_noise_scale"] == pytest.approx(scale)


def test_a_report_draws_it_beside_the_batch(straight):
    [group] = figures([read_record(straight[1])], None)
    caption, figure = group.figures["gradient_noise_scale"]
    assert "Measured" in caption
    measured, sizes = (line.get_ydata() for line in figure.axes[0].get_lines())
    assert list(measured) == [line["noise/simple"] for line in training(straight[1])]
    assert list(sizes) == [50] * 4


@pytest.mark.slow
def test_devices_are_parts(tmp_path):
    run = jb.fit(MEASURED, tmp_path / "run", devices=jax.devices()[:5])
    assert float(run.state.noise.weight) == pytest.approx(1 - np.exp(-120 / 100), rel=1e-5)
    assert training(tmp_path / "run")[-1].keys() >= FIELDS


def test_what_cannot_be_measured_is_said(tmp_path, capsys):
    task = dataclasses.replace(TUNED.task, model=jb.MLP((8,), norm=GhostBatchNorm(50)))
    whole = dataclasses.replace(MEASURED, task=task)
    with open_run(counted(whole), tmp_path / "run", devices=ONE):
        pass
    said = (
        "the gradient noise of batch 50 is not measured: its groups of 50 examples leave a device"
    )
    assert said in capsys.readouterr().err


def test_a_ratio_that_noise_hides_is_left_out():
    some = Noise(np.float32([-1, 2]), np.float32([10, 8]), np.float32(0.1))
    assert noise_of(some, 50) == {
        "noise/gradient_squared": -1,
        "noise/trace": 10,
        "noise/adam": 4,
    }
    assert noise_of(some._replace(weight=np.float32(0)), 50) == {}
    assert noise_of(None, 50) == {}
