"""A validation set is evaluated on during the run, and the test set at its end."""

import shutil
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jbatch as jb
from jbatch.analysis.split_check import check_experiment
from jbatch.cli import main
from jbatch.data.open import load
from jbatch.report.read import read_record
from jbatch.run.log import Diverged
from jbatch.run.metrics import read_metrics
from runs import without_times
from trained_runs import DIGITS, ONE, TUNED, Ended, constant


def part(split, places):
    return jax.tree.map(lambda leaf: leaf[places], split)


TRAIN, HELD_OUT = part(DIGITS.train, slice(1300)), part(DIGITS.train, slice(1300, None))
ARRAYS = jb.Arrays(TRAIN, DIGITS.test, validation=HELD_OUT)
MINE = replace(TUNED, data=ARRAYS, plan=constant(2), keep_best="loss")


def records(split):
    return [part(split, place) for place in range(len(split["label"]))]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("validation") / "run"
    jb.fit(MINE, directory, devices=ONE)
    return directory


def test_the_run_evaluates_on_it_and_its_end_on_the_test_set(directory):
    lines = read_metrics(directory / "metrics.jsonl")
    told = [(line["kind"], line["epoch"], line.get("num_examples")) for line in lines]
    assert told == [
        ("test", 0, 297),
        ("eval", 0, 200),
        ("train", 1, None),
        ("eval", 1, 200),
        ("train", 2, None),
        ("test", 2, 297),
        ("eval", 2, 200),
    ]
    model = jb.load(directory)
    assert lines[-1]["loss"] == pytest.approx(model.evaluate(HELD_OUT)["loss"], rel=1e-6)
    assert lines[-2]["loss"] == pytest.approx(model.evaluate(DIGITS.test)["loss"], rel=1e-6)


@pytest.mark.parametrize("kind", ["phase", "train", "test"])
def test_a_resumed_run_is_the_same(directory, tmp_path, kind):
    """It ends in its first epoch, after its last update, and between its last two lines."""

    def ends(line):
        if line["kind"] == kind and (kind == "phase" or line["epoch"] == 2):
            raise Ended

    with pytest.raises(Ended):
        jb.fit(MINE, tmp_path / "run", devices=ONE, on=[ends])
    jb.fit(MINE, tmp_path / "run", devices=ONE)
    assert without_times(tmp_path / "run") == without_times(directory)


def lines_of(directory):
    lines = read_metrics(directory / "metrics.jsonl")
    return [(line["kind"], line["epoch"]) for line in lines if line["kind"] != "train"]


def test_a_run_that_is_made_shorter_where_it_stands_is_tested_there(tmp_path):
    def ends(line):
        if line["kind"] == "train" and line["epoch"] == 2:
            raise Ended

    longer = replace(MINE, plan=constant(3))
    with pytest.raises(Ended):
        jb.fit(longer, tmp_path / "run", devices=ONE, on=[ends])
    one = replace(MINE, plan=constant(1))
    jb.fit(one, tmp_path / "run", devices=ONE, accept_plan_change=True)
    assert lines_of(tmp_path / "run")[-2:] == [("test", 1), ("eval", 1)]
    record = read_record(tmp_path / "run")
    assert (record.finished, record.final["kind"]) == (True, "test")


def test_a_run_that_is_made_longer_is_tested_at_its_new_end(directory, tmp_path):
    shutil.copytree(directory, tmp_path / "run")

    def ends(line):
        if line["kind"] == "train":
            raise Ended

    longer = replace(MINE, plan=constant(3))
    with pytest.raises(Ended):
        jb.fit(longer, tmp_path / "run", devices=ONE, on=[ends], accept_plan_change=True)
    assert read_record(tmp_path / "run").final["kind"] == "eval"
    jb.fit(longer, tmp_path / "run", devices=ONE)
    assert lines_of(tmp_path / "run")[-2:] == [("test", 3), ("eval", 3)]
    assert read_record(tmp_path / "run").final["epoch"] == 3


def test_the_metrics_of_a_model_are_of_the_test_set_at_the_end(directory):
    assert jb.load(directory).metrics["loss"] == read_record(directory).final["loss"]
    held_out = jb.load(directory, step=1300).metrics["loss"]
    assert held_out == read_record(directory).evaluations[1]["loss"]


def test_a_fault_of_the_test_set_is_found_before_the_first_update(tmp_path):
    bad = [*records(DIGITS.test)[:-1], {**records(DIGITS.test)[0], "image": np.zeros((2, 2, 1))}]
    data = jb.Source(records(TRAIN), bad, validation=records(HELD_OUT), num_classes=10, workers=0)
    mine = replace(MINE, task=replace(MINE.task, normalize="none"), updates_per_call=None)
    with pytest.raises(jb.Mistake, match="record 296 of test"):
        jb.fit(replace(mine, data=data), tmp_path / "run", devices=ONE)
    assert lines_of(tmp_path / "run") == []


def test_a_loss_of_the_test_set_that_is_not_finite_is_divergence(tmp_path):
    def loss(network, example):
        output = network(example["image"].astype(jnp.float32).ravel())[0]
        return jnp.where(example["label"] == 99, jnp.inf, output**2)

    test = {**DIGITS.test, "label": DIGITS.test["label"].copy()}
    test["label"][-1] = 99
    data = replace(ARRAYS, test=test)
    task = jb.Network(lambda rngs: nnx.Linear(64, 1, rngs=rngs), loss)
    with pytest.raises(Diverged, match="the loss on the test set is not finite"):
        jb.fit(replace(MINE, task=task, data=data), tmp_path / "run", devices=ONE)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["kind"] == "diverged"


@pytest.mark.slow
def test_check_evaluates_on_it(monkeypatch):
    found = {each.what: each.passed for each in check_experiment(MINE, jax.devices()[:2])}
    assert found["evaluation on the validation set, 1 and 2 devices"]


def test_streamed_it_has_the_same_scores(directory, tmp_path):
    source = jb.Source(
        records(TRAIN),
        records(DIGITS.test),
        validation=records(HELD_OUT),
        num_classes=10,
        workers=0,
    )
    mine = replace(MINE, task=replace(MINE.task, normalize="none"), updates_per_call=None)
    for name, data in (("arrays", ARRAYS), ("source", source)):
        jb.fit(replace(mine, data=data), tmp_path / name, devices=ONE)
    here, there = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("arrays", "source"))
    assert [line["kind"] for line in here] == [line["kind"] for line in there]
    for mine, theirs in zip(here, there, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_reports_show_the_test_set_at_the_end_and_the_validation_set_over_the_run(directory):
    record = read_record(directory)
    assert record.finished
    assert record.final["kind"] == "test"
    assert main(["report", str(directory)]) == 0
    assert "Validation accuracy against epochs" in (directory / "report.html").read_text()
    assert (directory / "validation_accuracy_epochs.png").exists()


OTHER = part(HELD_OUT, slice(None, None, -1))
WRONG = {**HELD_OUT, "label": HELD_OUT["label"] + 5}
REFUSED = {
    "another set": (OTHER, r"data\.validation\.image is"),
    "none": (None, r"data\.validation is"),
    "another shape": (
        {**HELD_OUT, "image": HELD_OUT["image"][:, :4]},
        "the train and validation examples of Arrays differ: .*image",
    ),
    "no examples": (part(HELD_OUT, slice(0)), "the validation set of Arrays is empty"),
    "no class": (WRONG, "labels are not within 0 to 9"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_its_validation_set_is_one_mistake(directory, name):
    held_out, message = REFUSED[name]
    before = (directory / "metrics.jsonl").read_bytes()
    data = replace(ARRAYS, validation=held_out, num_classes=10)
    with pytest.raises(jb.Mistake, match=message):
        jb.fit(replace(MINE, data=data), directory, devices=ONE)
    assert (directory / "metrics.jsonl").read_bytes() == before


@dataclass(frozen=True)
class Mine:
    """A class of the person's own, whose fields do not tell which examples it loads."""

    name: str = "mine"

    def load(self):
        return jb.Dataset(TRAIN, DIGITS.test, 10, validation=LOADED[-1])


LOADED = [HELD_OUT]


def test_another_set_of_the_same_name_is_refused(tmp_path, monkeypatch):
    one = replace(MINE, data=Mine(), plan=constant(1))
    jb.fit(one, tmp_path / "run", devices=ONE)
    for other in (OTHER, None):
        monkeypatch.setattr("test_validation.LOADED", [other])
        with pytest.raises(jb.Mistake, match="the validation set differs from the one of"):
            jb.fit(one, tmp_path / "run", devices=ONE)


def test_a_source_without_a_validation_example_is_refused():
    with pytest.raises(jb.Mistake, match="validation of Source is 3"):
        jb.Source([0], [0], validation=3)
    source = jb.Source([np.zeros(2)], [np.zeros(2)], validation=[np.zeros(3)], workers=0)
    with pytest.raises(jb.Mistake, match="the validation examples of the source are"):
        load(source).validation()
