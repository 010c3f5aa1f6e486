"""Functions that `fit` calls."""

import dataclasses
import json

import optax
import pytest

import jbatch as jb
from jbatch import Coupling, Mistake
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.metrics import read_metrics
from runs import without_times
from trained_runs import (
    ONE,
    TUNED,
    Ended,
    constant,
)

GROWING = dataclasses.replace(
    TUNED,
    plan=Coupling(
        optax.piecewise_constant_schedule(0.05, {2: 1 / 3}),
        num_epochs=3,
        batch_size=50,
        batch_sizes=(50, 150),
    ),
)


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """(finished run, directory, lines that a callback was given)."""
    lines = []
    directory = tmp_path_factory.mktemp("growing") / "run"

    def changes(line):
        line["kind"] = "changed"
        line.clear()

    run = jb.fit(GROWING, directory, devices=ONE, on=[changes, lines.append, changes])
    return run, directory, lines


def test_what_is_no_experiment_or_no_list_is_one_mistake(tmp_path):
    with pytest.raises(Mistake, match=r"fit was given 'mine\.py': give one Experiment"):
        jb.fit("mine.py", tmp_path / "run")
    with pytest.raises(Mistake, match="give a list of functions"):
        jb.fit(TUNED, tmp_path / "run", on=print)


def test_callbacks_are_given_every_line_in_order(growing):
    _, _, lines = growing
    assert [(line["kind"], line["epoch"], line["batch_size"]) for line in lines] == [
        ("eval", 0, 50),
        ("phase", 0, 50),
        ("train", 1, 50),
        ("eval", 1, 50),
        ("train", 2, 50),
        ("eval", 2, 50),
        ("phase", 2, 150),
        ("train", 3, 150),
        ("eval", 3, 150),
    ]
    assert [line["phase"] for line in lines if line["kind"] == "phase"] == [0, 1]


def test_a_phase_line_has_the_rate_of_its_phase(tmp_path):
    lines = []
    size = GROWING.plan.batch_size
    plan = dataclasses.replace(GROWING.plan, growth=0.5, batch_sizes=(size, size * 3 // 2))
    falling = dataclasses.replace(GROWING, plan=plan)
    run = jb.fit(falling, tmp_path / "run", devices=ONE, on=[lines.append])
    [second] = [line for line in lines if line["kind"] == "phase" and line["phase"] == 1]
    row = run.plan.at(run.plan.phases[1].first_update)
    assert second["batch_size"] == row.batch_size == size * 3 // 2
    assert second["learning_rate"] == row.learning_rate
    assert second["noise_scale"] == run.plan.noise_scale(row.update)


def test_what_a_callback_changes_is_its_own(growing):
    _, directory, lines = growing
    written = [line for line in lines if line["kind"] != "phase"]
    assert read_metrics(directory / "metrics.jsonl") == written


def test_a_callback_sees_a_line_that_is_written(tmp_path):
    seen = []

    def read(line):
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        seen.append(line["kind"] == "phase" or json.loads(lines[-1]) == line)

    jb.fit(dataclasses.replace(TUNED, plan=constant(1)), tmp_path / "run", devices=ONE, on=[read])
    assert seen == [True] * 4


@pytest.mark.parametrize(
    ("kind", "epoch"), [("eval", 0), ("phase", 0), ("train", 1), ("eval", 2), ("phase", 2)]
)
def test_an_exception_of_a_callback_ends_the_run_which_resumes(growing, tmp_path, kind, epoch):
    whole, directory, _ = growing

    def end(line):
        if (line["kind"], line["epoch"]) == (kind, epoch):
            raise Ended("of mine")

    with pytest.raises(Ended, match=r"^of mine$"):
        jb.fit(GROWING, tmp_path / "run", devices=ONE, on=[end])
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["epoch"] == epoch
    resumed = jb.fit(GROWING, tmp_path / "run", devices=ONE)
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


def test_a_mistake_of_a_callback_does_not_remove_the_run(growing, tmp_path):
    whole, _, _ = growing

    def end(line):
        raise Mistake("of mine")

    with pytest.raises(Mistake, match="of mine"):
        jb.fit(GROWING, tmp_path / "run", devices=ONE, on=[end])
    resumed = jb.fit(GROWING, tmp_path / "run", devices=ONE)
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)


def test_an_os_error_of_a_callback_is_its_own(tmp_path):
    """Trackers raise those when the network is away: requests' exceptions are OSErrors."""

    def end(line):
        raise ConnectionError("the tracker is away")

    with pytest.raises(ConnectionError, match="the tracker is away"):
        jb.fit(GROWING, tmp_path / "run", devices=ONE, on=[end])
