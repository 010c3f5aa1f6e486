"""Evaluating a run that was made in Python, which has no experiment file."""

import json
from dataclasses import replace

import numpy as np
import pytest

import jbatch as jb
from jbatch.cli import main
from trained_runs import DIGITS, FIRST, ONE, evaluations


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """The directory of a run on arrays."""
    directory = str(tmp_path_factory.mktemp("arrays") / "run")
    jb.fit(replace(FIRST, data=jb.Arrays(DIGITS.train, DIGITS.test)), directory, devices=ONE)
    return directory


def test_a_run_on_a_named_dataset_is_evaluated_by_the_command(first, capsys):
    assert main(["eval", first[1], "--json"]) == 0
    found, last = json.loads(capsys.readouterr().out), evaluations(first[1])[-1]
    assert found["update"] == last["update"]
    assert found["accuracy"] == pytest.approx(last["accuracy"])
    assert found["average_loss"] == pytest.approx(last["average_loss"], rel=1e-6)


def test_a_model_is_evaluated_on_any_examples(arrays):
    model = jb.load(arrays)
    assert model.evaluate(DIGITS.test) == pytest.approx(model.metrics, rel=1e-6)
    train = model.evaluate(DIGITS.train)
    right = model.predict({"image": DIGITS.train["image"]}).argmax(1) == DIGITS.train["label"]
    assert train["accuracy"] == pytest.approx(right.mean())


def test_a_run_on_arrays_says_how_it_is_evaluated(arrays, capsys):
    assert main(["eval", arrays]) == 2
    assert f"jbatch.load('{arrays}').evaluate(examples)" in capsys.readouterr().err


def test_fields_cannot_be_given(first, capsys):
    assert main(["eval", first[1], "--data.name", "mnist"]) == 2
    assert "was made in Python, so its fields cannot be given here" in capsys.readouterr().err


def test_examples_unlike_the_training_sets_are_one_mistake(arrays):
    model = jb.load(arrays)
    other = {"image": DIGITS.test["image"].astype(np.float32), "label": DIGITS.test["label"]}
    told = r"have \['image'\] of float32 \(8, 8, 1\), and the training set of uint8 \(8, 8, 1\)"
    with pytest.raises(jb.Mistake, match=told):
        model.evaluate(other)
    wrong = {**DIGITS.test, "label": DIGITS.test["label"] + 5}
    with pytest.raises(jb.Mistake, match=r"the examples' labels: .* not within 0 to 9"):
        model.evaluate(wrong)
    with pytest.raises(jb.Mistake, match="different numbers of examples"):
        model.evaluate({"image": DIGITS.test["image"], "label": DIGITS.test["label"][:3]})
