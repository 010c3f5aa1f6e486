"""Runs on records without an end: a plan with a length and no epochs."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

import jbatch as jb
from jbatch import Mistake
from jbatch.distributed.preemption import PhaseEnd
from jbatch.experiment.overrides import override
from jbatch.run import build
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.metrics import read_metrics
from jbatch.run.replay import replayed
from runs import without_times
from trained_runs import ONE, TUNED, Ended


class Stream:
    """Records by number; the number decides them."""

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        label = int(rng.integers(10))
        image = rng.normal(0, 1, (8, 8, 1)).astype(np.float32)
        image[label % 8] += 2
        return {"image": image, "label": np.int32(label)}


class Numbered(Stream):
    """The same, which writes down what it is asked for."""

    def __init__(self):
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


TEST = [Stream()[index] for index in range(1000, 1040)]
PLAN = jb.Coupling(
    optax.piecewise_constant_schedule(0.1, {400: 0.5}),
    length=1200,
    unit="examples",
    batch_size=40,
    batch_sizes=(40, 80),
    momentum=0.9,
)


def data_of(train=None):
    return jb.Source(train or Stream(), TEST, num_classes=10, workers=0)


def experiment(train=None, plan=PLAN, **changes):
    task = dataclasses.replace(TUNED.task, normalize="none")
    made = dataclasses.replace(
        TUNED, plan=plan, data=data_of(train), task=task, updates_per_call=None
    )
    return dataclasses.replace(made, **{"save_every": None, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(finished run, directory, the records that it asked for)"""
    directory, train = tmp_path_factory.mktemp("whole") / "run", Numbered()
    return jb.fit(experiment(train), directory, devices=ONE), directory, train.asked


def test_a_stream_is_read_once_in_its_own_order(whole):
    assert whole[2][-1200:] == list(range(1200))
    lines = read_metrics(whole[1] / "metrics.jsonl")
    kinds = [line["kind"] for line in lines]
    assert kinds.count("eval") == 11  # at the start, and then every tenth of the run
    assert [line["epoch"] for line in lines if line["kind"] == "train"][-1] == 1.0
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_it_resumes_at_the_next_record(whole, tmp_path):
    with pytest.raises(PhaseEnd):
        jb.fit(experiment(), tmp_path / "run", devices=ONE, until_phase=1)
    train = Numbered()
    run = jb.fit(experiment(train), tmp_path / "run", devices=ONE)
    assert sorted(train.asked)[-800:] == list(range(400, 1200))
    assert parameters_digest(run.state.params) == parameters_digest(whole[0].state.params)
    assert without_times(tmp_path / "run") == without_times(whole[1])


def test_it_decides_on_its_batch_and_its_decisions_are_a_plan(tmp_path):
    """It is stopped after the growth, at 400 examples, and resumes with it."""
    stalls = jb.Adaptive(jb.LossStall(patience=1, least=0.9), every=5)
    stream = experiment(adaptive=stalls, save_every=200)

    def stop(line):
        if line["examples"] >= 800:
            raise Ended

    with pytest.raises(Ended):
        jb.fit(stream, tmp_path / "run", devices=ONE, on=[stop])
    run = jb.fit(stream, tmp_path / "run", devices=ONE)
    assert run.plan.decided.sizes == ((0, 40), (400, 80))
    fixed = override(stream, replayed(tmp_path / "run", stream), "jbatch train")
    train = Numbered()
    again = jb.fit(dataclasses.replace(fixed, data=data_of(train)), tmp_path / "two", devices=ONE)
    assert sorted(set(train.asked)) == list(range(1200))
    assert parameters_digest(again.state.params) == parameters_digest(run.state.params)
    assert without_times(tmp_path / "two") == without_times(tmp_path / "run")


@pytest.mark.slow
def test_on_any_devices_with_its_noise_measured(whole, tmp_path):
    run = jb.fit(experiment(measure_noise=True), tmp_path / "run", devices=jax.devices())
    one, other = (jax.tree.leaves(each.state.params) for each in (whole[0], run))
    for mine, theirs in zip(one, other, strict=True):  # see test_split
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5)
    assert "noise/simple" in read_metrics(tmp_path / "run" / "metrics.jsonl")[-2]
    scored = jb.load(tmp_path / "run").evaluate(stacked(TEST))
    assert scored == pytest.approx(last(tmp_path / "run"), rel=1e-5)


def stacked(records):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *records)


def last(directory):
    line = [line for line in read_metrics(directory / "metrics.jsonl") if line["kind"] == "eval"]
    return {name: line[-1][name] for name in ("loss", "accuracy")}


def test_no_warning_speaks_of_epochs():
    plan = experiment(plan=dataclasses.replace(PLAN, momentum=0.99)).make_plan()
    assert not [text for text in plan.warnings if "epoch" in text or "N/10" in text]
    assert plan.num_epochs is None


OVER_EPOCHS = dataclasses.replace(PLAN, unit="epochs", length=None, num_epochs=1)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda: experiment(plan=OVER_EPOCHS),
            r"have no len, so there are no epochs: give plan\.length, and plan\.unit",
        ),
        (
            lambda: experiment(plan=dataclasses.replace(PLAN, num_examples=1200)),
            r"have no len, but the plan is for 1,200: leave plan\.num_examples out",
        ),
        (
            lambda: experiment(
                plan=dataclasses.replace(PLAN, length=2**33, batch_size=2**20, batch_sizes=(2**20,))
            ),
            r"8,589,934,592 examples without a break, but at most 4,294,967,296",
        ),
        (lambda: experiment(train=iter([1])), "has no random access: give a map-style dataset"),
        (lambda: jb.Source([1], Stream()), "which has no len: evaluations need an end"),
    ],
)
def test_what_a_stream_lacks_is_said(made, said, tmp_path):
    with pytest.raises(Mistake, match=said):
        jb.fit(made(), tmp_path / "run", devices=ONE)
    assert not (tmp_path / "run").exists()


def test_windows_of_a_text_need_no_room_for_their_order():
    """It is computed, whatever their number; images of that number are refused."""
    plan = dataclasses.replace(PLAN, num_examples=2**31).plan()
    build._check_count(2**31, plan, computed=True)
    with pytest.raises(Mistake, match="Ordering an epoch"):
        build._check_count(2**31, plan, computed=False)
