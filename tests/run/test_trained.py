"""A trained model in the hand."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax import linen

import jbatch as jb
from jbatch import Classify, Coupling, Digits, Mistake
from jbatch.run.checkpoint import parameters_digest
from trained_runs import (
    DIGITS,
    FIRST,
    ONE,
    TUNED,
    Ended,
    accuracy,
    constant,
    evaluations,
    same,
)


def test_the_parameters_are_those_at_the_end_of_the_run(first, model):
    run, _ = first
    assert model.examples == 6000 == run.examples
    assert same(model.params, run.state.params)
    assert parameters_digest(model.params) == parameters_digest(run.state.params)
    assert same(model.train_state, run.state)


def test_metrics_are_the_evaluation_at_the_checkpoint(first, model):
    last = evaluations(first[1])[-1]
    assert model.metrics.keys() == {"loss", "accuracy", "average_loss", "average_accuracy"}
    assert model.metrics == {name: last[name] for name in model.metrics}


def test_predictions_score_what_the_evaluation_scored(model):
    logits = model.predict(DIGITS.test)
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (297, 10)
    assert accuracy(logits) == model.metrics["accuracy"]
    losses = -np.asarray(jax.nn.log_softmax(logits))[np.arange(297), DIGITS.test["label"]]
    assert losses.mean() == pytest.approx(model.metrics["loss"], rel=1e-5)


def test_predictions_of_the_average_score_what_its_evaluation_scored(model):
    averaged = model.predict(DIGITS.test, average=True)
    assert accuracy(averaged) == model.metrics["average_accuracy"]
    assert not np.array_equal(averaged, model.predict(DIGITS.test))
    assert not same(model.average, model.params)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 300, 513])
def test_an_example_is_predicted_alike_alone_and_among_others(model, count):
    images = DIGITS.train["image"]
    many = model.predict({"image": images[:count]})
    assert many.shape == (count, 10)
    for at in {0, count // 2, count - 1}:
        alone = model.predict({"image": images[at : at + 1]})
        assert alone.shape == (1, 10)
        np.testing.assert_allclose(many[at], alone[0], rtol=1e-5, atol=1e-5)


def test_labels_change_no_prediction(model):
    images = {"image": DIGITS.test["image"]}
    assert np.array_equal(model.predict(images), model.predict(DIGITS.test))


def test_a_model_needs_no_dataset(first, model, monkeypatch):
    def missing(self):
        raise AssertionError("the dataset is read")

    monkeypatch.setattr(Digits, "load", missing)
    alone = jb.load(Path(first[1]))
    assert np.array_equal(alone.predict(DIGITS.test), model.predict(DIGITS.test))
    assert alone.metrics == model.metrics


def test_the_examples_of_arrays_are_not_in_the_saved_task(tmp_path):
    train = {"image": DIGITS.train["image"], "label": DIGITS.train["label"]}
    mine = dataclasses.replace(TUNED, plan=constant(1), data=jb.Arrays(train, DIGITS.test))
    jb.fit(mine, tmp_path / "run", devices=ONE)
    assert (tmp_path / "run" / "task.pkl").stat().st_size < 10_000 < train["image"].nbytes
    model = jb.load(tmp_path / "run")
    assert accuracy(model.predict(DIGITS.test)) == model.metrics["accuracy"]


def test_a_run_without_average_has_none_to_predict_with(tmp_path):
    jb.fit(dataclasses.replace(TUNED, plan=constant(1)), tmp_path / "run", devices=ONE)
    model = jb.load(tmp_path / "run")
    assert model.average is None
    with pytest.raises(Mistake, match="kept no average of its parameters"):
        model.predict(DIGITS.test, average=True)


def test_a_run_on_eight_devices_loads_on_one(tmp_path):
    eight = Coupling(optax.constant_schedule(0.05), num_epochs=1, batch_size=40)
    eight = dataclasses.replace(TUNED, plan=eight, micro_batch=None)
    run = jb.fit(eight, str(tmp_path / "run"), devices=jax.devices())
    model = jb.load(tmp_path / "run")
    assert same(model.params, run.state.params)
    assert {leaf.devices().pop() for leaf in jax.tree.leaves(model.params)} == set(ONE)
    assert accuracy(model.predict(DIGITS.test)) == model.metrics["accuracy"]


def test_no_examples_have_no_predictions(model):
    assert model.predict({"image": DIGITS.test["image"][:0]}).shape == (0, 10)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ({}, "predict was given no array: give examples"),
        (DIGITS.test["image"], "predict was given an array of shape"),
        ({"image": DIGITS.test["image"][0]}, r"predict was given \['image'\] of shape \(8, 8"),
        (
            {"image": DIGITS.test["image"][:3], "label": DIGITS.test["label"][:2]},
            "predict was given arrays of 2 different lengths",
        ),
    ],
    ids=["nothing", "no names", "no axis over examples", "other lengths"],
)
def test_examples_unlike_those_of_training_are_one_mistake(model, examples, said):
    with pytest.raises(Mistake, match=said):
        model.predict(examples)


# ---- which checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [3000, 4500, 6000])
def test_a_checkpoint_is_found_by_its_examples(first, examples):
    """The one of 3,000 stays because of keep_every; the others are the last two."""
    [line] = [line for line in evaluations(first[1]) if line["examples"] == examples]
    model = jb.load(first[1], step=examples)
    assert model.examples == examples
    assert model.metrics["accuracy"] == line["accuracy"] == accuracy(model.predict(DIGITS.test))


def test_the_best_checkpoint_is_that_of_the_best_evaluation(first):
    best = min(evaluations(first[1]), key=lambda line: line["loss"])
    assert best["examples"] not in (0, 6000)
    model = jb.load(first[1], step="best")
    assert model.examples == best["examples"]
    assert model.metrics == {name: best[name] for name in model.metrics}
    assert accuracy(model.predict(DIGITS.test)) == best["accuracy"]


@pytest.mark.parametrize("save_every", [1, 10])
def test_the_best_checkpoint_of_a_resumed_run_is_the_same(first, tmp_path, save_every):
    """With 10 there is a best checkpoint before the first of those that a run resumes from."""
    changed = dataclasses.replace(FIRST, save_every=save_every, keep_every=None)

    def end(line):
        if line["kind"] == "train" and line["epoch"] == 3:
            raise Ended

    with pytest.raises(Ended):
        jb.fit(changed, tmp_path / "run", devices=ONE, on=[end])
    jb.fit(changed, tmp_path / "run", devices=ONE)
    best, there = jb.load(tmp_path / "run", "best"), jb.load(first[1], "best")
    assert best.examples == there.examples
    assert same(best.params, there.params)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1500, r"has no checkpoint of 1500 examples: give 3000, 4500, 6000"),
        (7, "has no checkpoint of 7 examples"),
        (-1, "step is -1"),
        ("newest", "step is .?newest"),
        (1.5, "step is 1.5"),
    ],
)
def test_an_unknown_checkpoint_is_a_mistake(first, step, message):
    with pytest.raises(Mistake, match=message) as refused:
        jb.load(first[1], step=step)
    assert "\n" not in str(refused.value)


def test_a_run_that_keeps_no_best_says_so(tmp_path):
    jb.fit(dataclasses.replace(TUNED, plan=constant(1)), tmp_path / "run", devices=ONE)
    with pytest.raises(Mistake, match="kept no best checkpoint: train it with keep_best"):
        jb.load(tmp_path / "run", "best")


def test_what_is_no_run_is_a_mistake(tmp_path):
    with pytest.raises(Mistake, match="is not a run directory"):
        jb.load(tmp_path)
    with pytest.raises(Mistake, match="is not a run directory"):
        jb.load(str(tmp_path / "none"))


# ---- trust --------------------------------------------------------------------------------------


class Touches:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_changed_task_does_not_run_unless_it_is_trusted(first, tmp_path):
    directory = shutil.copytree(first[1], tmp_path / "run")
    trace = tmp_path / "ran"
    (directory / "task.pkl").write_bytes(pickle.dumps(Touches(trace)))
    with pytest.raises(Mistake, match=r"task.pkl, which is code.*pass trusted=True \(--trust\)"):
        jb.load(directory)
    assert not trace.exists()
    with pytest.raises(Mistake, match=r"task.pkl is not a run's task"):
        jb.load(directory, trusted=True)
    assert trace.exists()


def test_a_byte_more_is_a_change(first, model, tmp_path):
    directory = shutil.copytree(first[1], tmp_path / "run")
    with (directory / "task.pkl").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(Mistake, match="trusted=True"):
        jb.load(directory)
    trusted = jb.load(directory, trusted=True)
    assert np.array_equal(trusted.predict(DIGITS.test), model.predict(DIGITS.test))


@pytest.mark.parametrize("change", ["a seal of another user", "no seal"])
def test_a_run_of_another_user_is_loaded_when_it_is_trusted(
    first, model, tmp_path, monkeypatch, change
):
    directory = Path(first[1])
    if change == "no seal":
        directory = shutil.copytree(directory, tmp_path / "run")
        run = json.loads((directory / "run.json").read_text())
        del run["task_seal"]
        (directory / "run.json").write_text(json.dumps(run))
    else:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    with pytest.raises(Mistake, match=r"not created by you on this machine.*trusted=True"):
        jb.load(directory)
    trusted = jb.load(directory, trusted=True)
    assert same(trusted.params, model.params)


def test_a_moved_run_of_ones_own_is_trusted(first, model, tmp_path):
    moved = shutil.copytree(first[1], tmp_path / "elsewhere")
    assert same(jb.load(moved).params, model.params)


class Reader(linen.Module):
    """A network that must be told whether it trains."""

    @linen.compact
    def __call__(self, image, train):
        x = linen.Dense(16)(image.reshape(-1))
        return linen.Dense(10)(linen.Dropout(0.1, deterministic=not train)(x))


def test_a_network_that_is_told_whether_it_trains_predicts(tmp_path):
    own = dataclasses.replace(TUNED, task=Classify(Reader()), plan=constant(1))
    jb.fit(own, tmp_path / "run", devices=ONE)
    model = jb.load(tmp_path / "run")
    assert accuracy(model.predict(DIGITS.test)) == model.metrics["accuracy"]
