"""Runs that begin with another run's weights."""

import dataclasses
import shutil

import numpy as np
import pytest

import jbatch as jb
from jbatch import MLP, Classify, Mistake, Weights
from jbatch.parameters import named
from jbatch.run.build import counted
from jbatch.run.start import open_run
from runs import without_times
from trained_runs import (
    ONE,
    TUNED,
    Ended,
    constant,
    evaluations,
    same,
)


def begun(experiment, directory) -> dict[str, np.ndarray]:
    """A run's parameters before its first update, by path."""
    with open_run(counted(experiment), directory, devices=ONE) as run:
        return {path: np.array(leaf) for path, leaf in named(run.state.params)}


@pytest.fixture(scope="module")
def tuned(first, tmp_path_factory):
    """(experiment, finished run): fine-tuning with frozen layers and a new head."""
    init = Weights(first[1], drop=("head",), freeze=("layers",))
    experiment = dataclasses.replace(TUNED, init=init)
    directory = tmp_path_factory.mktemp("tuned") / "run"
    return experiment, jb.fit(experiment, directory, devices=ONE), directory


def test_a_run_begins_with_the_weights_of_another(first, model, tmp_path):
    init = Weights(first[1], drop=("head",))
    here = begun(dataclasses.replace(TUNED, init=init), tmp_path / "run")
    alone, there = begun(TUNED, tmp_path / "alone"), dict(named(model.params))
    assert here.keys() == there.keys() == alone.keys()
    assert {path.partition(".")[0] for path in here} == {"layers", "head"}
    for path, leaf in here.items():
        dropped = path.startswith("head")
        assert np.array_equal(leaf, alone[path] if dropped else there[path])
        if not path.endswith("bias"):
            assert not np.array_equal(leaf, there[path] if dropped else alone[path])


@pytest.mark.parametrize("step", ["best", 3000])
def test_a_run_begins_with_the_checkpoint_that_it_names(first, tmp_path, step):
    here = begun(dataclasses.replace(TUNED, init=Weights(first[1], step=step)), tmp_path / "run")
    there = dict(named(jb.load(first[1], step).params))
    assert all(np.array_equal(leaf, there[path]) for path, leaf in here.items())


def test_frozen_parameters_stay_and_the_others_learn(model, tuned, tmp_path):
    experiment, run, directory = tuned
    first_ones, last = begun(experiment, tmp_path / "run"), dict(named(run.state.params))
    for path, leaf in named(model.params):
        if path.startswith("layers"):
            assert np.asarray(last[path]).tobytes() == np.asarray(leaf).tobytes()
        else:
            assert not np.array_equal(last[path], leaf)
            assert not np.array_equal(last[path], first_ones[path])
    assert evaluations(directory)[-1]["loss"] < evaluations(directory)[0]["loss"]


@pytest.mark.parametrize(
    ("init", "model_spec", "message"),
    [
        ({"drop": ("hed",)}, MLP((32,)), "init names hed, but the network has no such parameter"),
        ({"freeze": ("layer",)}, MLP((32,)), "init names layer, but the network has no such"),
        ({"freeze": ("head.kern",)}, MLP((32,)), "init names head.kern, but .* head.kernel"),
        (
            {},
            MLP((16,)),
            r'head.kernel has the shape \(16, 10\), but \(32, 10\) in .*drop=\("head.kernel",\)\)',
        ),
        ({"drop": "head"}, MLP((32,)), "drop is 'head': give a tuple of paths"),
        ({"step": 7}, MLP((32,)), "has no checkpoint of 7 examples"),
        ({"step": "newest"}, MLP((32,)), "step is 'newest': give last, best"),
        ({"drop": ("layers", "head")}, MLP((32,)), "has no parameter of this network"),
    ],
)
def test_weights_that_do_not_fit_are_one_mistake(first, tmp_path, init, model_spec, message):
    def trained():
        changed = {"task": Classify(model_spec), "init": Weights(first[1], **init)}
        jb.fit(dataclasses.replace(TUNED, **changed), tmp_path / "run", devices=ONE)

    with pytest.raises(Mistake, match=message) as refused:
        trained()
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_weights_of_no_run_are_one_mistake(tmp_path):
    mine = dataclasses.replace(TUNED, init=Weights(tmp_path / "none"))
    with pytest.raises(Mistake, match="none is not a run directory"):
        jb.fit(mine, tmp_path / "run", devices=ONE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_resumed_fine_tuning_is_undisturbed_bit_for_bit(tuned, tmp_path, epoch):
    experiment, whole, directory = tuned

    def end(line):
        if line["kind"] == "eval" and line["epoch"] == epoch:
            raise Ended

    with pytest.raises(Ended):
        jb.fit(experiment, tmp_path / "run", devices=ONE, on=[end])
    resumed = jb.fit(experiment, tmp_path / "run", devices=ONE)
    assert same(resumed.state, whole.state)
    assert without_times(tmp_path / "run") == without_times(directory)


def test_more_epochs_go_on_as_if_they_had_been_planned(tuned, tmp_path):
    experiment, whole, directory = tuned
    shorter = dataclasses.replace(experiment, plan=constant(2))
    jb.fit(shorter, tmp_path / "run", devices=ONE)
    longer = jb.fit(experiment, tmp_path / "run", devices=ONE, accept_plan_change=True)
    assert same(longer.state.params, whole.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


def test_a_run_resumes_after_the_other_was_moved(first, tuned, tmp_path):
    experiment, whole, _ = tuned
    other = shutil.copytree(first[1], tmp_path / "other")
    mine = dataclasses.replace(experiment, init=dataclasses.replace(experiment.init, run=other))

    def end(line):
        if line["kind"] == "train" and line["epoch"] == 2:
            raise Ended

    with pytest.raises(Ended):
        jb.fit(mine, tmp_path / "run", devices=ONE, on=[end])
    moved = other.rename(tmp_path / "moved")
    mine = dataclasses.replace(mine, init=dataclasses.replace(mine.init, run=moved))
    resumed = jb.fit(mine, tmp_path / "run", devices=ONE)
    assert same(resumed.state.params, whole.state.params)


@pytest.mark.parametrize("epoch", [0, 2])  # without a checkpoint, and with one
def test_a_run_does_not_resume_with_other_weights(tuned, tmp_path, epoch):
    experiment, _, _ = tuned

    def end(line):
        if line["kind"] == "eval" and line["epoch"] == epoch:
            raise Ended

    with pytest.raises(Ended):
        jb.fit(experiment, tmp_path / "run", devices=ONE, on=[end])
    jb.fit(dataclasses.replace(TUNED, plan=constant(1)), tmp_path / "other", devices=ONE)
    init = dataclasses.replace(experiment.init, run=tmp_path / "other")
    with pytest.raises(Mistake, match="weights"):
        jb.fit(dataclasses.replace(experiment, init=init), tmp_path / "run", devices=ONE)
