"""Records of a person's own, read by workers while the run trains."""

import dataclasses
import os
from collections.abc import Sequence

import jax
import numpy as np
import optax
import pytest

from jbatch import (
    MLP,
    Arrays,
    Classify,
    Coupling,
    Digits,
    Experiment,
    Functions,
    Mistake,
    Scores,
    Source,
    fit,
)
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.metrics import read_metrics
from processes import python_children
from runs import without_times

ONE = jax.devices()[:1]
DIGITS = Digits().load()
COUNT, TEST = 96, 25
# If a digest covers 16 of 96 records, 7 is none of them, and 6 is one.
FOUND_IN_TRAINING, FOUND_AT_ONCE = 7, 6


@pytest.fixture(autouse=True)
def _some_records_are_read_at_the_start(monkeypatch):
    monkeypatch.setattr("jbatch.data.stream.source.HASHED", 16)


def records_of(split, count) -> list[dict]:
    images, labels = split["image"][:count], split["label"][:count]
    return [
        {"image": image.astype(np.float32) / 16, "label": int(label)}
        for image, label in zip(images, labels, strict=True)
    ]


TRAIN, HELD = records_of(DIGITS.train, COUNT), records_of(DIGITS.test, TEST)


def stacked(records):
    return {
        "image": np.stack([record["image"] for record in records]),
        "label": np.array([record["label"] for record in records]),
    }


def noisy(record, rng):
    """Random in training alone."""
    image = record["image"]
    if rng is not None:
        image = image + rng.normal(0, 0.1, image.shape).astype(np.float32)
    return {"image": image, "label": record["label"]}


def inverted(record, rng):
    return {"image": 1 - record["image"], "label": record["label"]}


def loader(function):
    """Another function by the same name."""

    def load(record, rng):
        return function(record, rng)

    return load


def source(train=TRAIN, test=HELD, load=None, workers=0, num_classes=10) -> Source:
    return Source(train, test, load, num_classes=num_classes, workers=workers)


def experiment(data, num_epochs=2) -> Experiment:
    return Experiment(
        Coupling(optax.constant_schedule(0.1), num_epochs=num_epochs, batch_size=16),
        task=Classify(MLP((16,)), normalize="none"),
        data=data,
        updates_per_call=1,
        micro_batch=16,
        save_every=1,
    )


def lines(directory, kind) -> list[dict]:
    return [line for line in read_metrics(directory / "metrics.jsonl") if line["kind"] == kind]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Loaded in the trainer process: (finished run, directory)."""
    directory = tmp_path_factory.mktemp("alone") / "run"
    return fit(experiment(source(load=noisy)), directory, devices=ONE), directory


def test_workers_change_no_bit(alone, tmp_path):
    run, directory = alone
    with_two = fit(experiment(source(load=noisy, workers=2)), tmp_path / "run", devices=ONE)
    assert parameters_digest(with_two.state.params) == parameters_digest(run.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)
    assert not python_children(os.getpid())


def test_the_random_numbers_are_used_and_follow_the_seed(alone, tmp_path):
    run, _ = alone
    others = {
        "no noise": experiment(source()),
        "another seed": dataclasses.replace(experiment(source(load=noisy)), seed=1),
    }
    digests = {parameters_digest(run.state.params)}
    for name, other in others.items():
        state = fit(other, tmp_path / name, devices=ONE).state
        digests.add(parameters_digest(state.params))
    assert len(digests) == 3


def draw(record, rng):
    return {"value": np.float32(0 if rng is None else rng.uniform(1, 2)), "index": record}


def watch(params, example, key):
    value = example["value"]
    return Scores(value + 0 * params["w"], metrics={"square": value**2})


def test_each_visit_of_a_record_draws_anew_and_evaluation_draws_nothing(tmp_path):
    task = Functions(lambda key, example: {"w": jax.numpy.zeros(())}, watch)
    data = Source(list(range(COUNT)), list(range(TEST)), draw, workers=0)
    fit(dataclasses.replace(experiment(data, 3), task=task), tmp_path / "run", devices=ONE)
    training = lines(tmp_path / "run", "train")
    assert len({line["loss"] for line in training}) == 3
    for line in training:
        assert 1.3 < line["loss"] < 1.7
        assert line["square"] - line["loss"] ** 2 == pytest.approx(1 / 12, abs=0.03)
    assert {line["loss"] for line in lines(tmp_path / "run", "eval")} == {0}


def test_a_resumed_run_draws_the_same(alone, tmp_path):
    class Ended(Exception):
        pass

    def end(line):
        if line["kind"] == "train" and line["epoch"] == 2:
            raise Ended

    run, directory = alone
    mine = experiment(source(load=noisy))
    with pytest.raises(Ended):
        fit(mine, tmp_path / "run", devices=ONE, on=[end])
    resumed = fit(mine, tmp_path / "run", devices=ONE)
    assert parameters_digest(resumed.state.params) == parameters_digest(run.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


def test_a_source_trains_as_the_same_examples_in_arrays(tmp_path):
    runs = {
        "source": fit(experiment(source()), tmp_path / "source", devices=ONE),
        "arrays": fit(
            experiment(Arrays(stacked(TRAIN), stacked(HELD), num_classes=10)),
            tmp_path / "arrays",
            devices=ONE,
        ),
    }
    mine, theirs = (read_metrics(tmp_path / name / "metrics.jsonl") for name in runs)
    assert [line["kind"] for line in mine] == ["eval", "train", "eval", "train", "eval"]
    for here, there in zip(mine, theirs, strict=True):
        assert (here["kind"], here["examples"]) == (there["kind"], there["examples"])
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-6)
        assert here["accuracy"] == there["accuracy"]


class Lazily(Sequence):
    """Anything with len and random access."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        assert isinstance(index, int)
        return self.records[index]


def test_anything_with_len_and_random_access_is_a_source(alone, tmp_path):
    run, _ = alone
    lazily = source(Lazily(TRAIN), Lazily(HELD), noisy)
    other = fit(experiment(lazily), tmp_path / "run", devices=ONE)
    assert parameters_digest(other.state.params) == parameters_digest(run.state.params)


# ---- evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 25])
def test_eight_devices_evaluate_each_example_once(tmp_path, count):
    values = np.random.default_rng(0).normal(10, 3, COUNT).astype(np.float32)
    records = [{"value": value} for value in values]
    task = Functions(lambda key, example: {"w": jax.numpy.zeros(())}, watch)
    mine = experiment(Source(records, records[:count], workers=0), 1)
    mine = dataclasses.replace(mine, task=task, micro_batch=None)
    fit(mine, tmp_path / "run", devices=jax.devices())
    evaluations = lines(tmp_path / "run", "eval")
    assert [line["num_examples"] for line in evaluations] == [count, count]
    for line in evaluations:
        assert line["loss"] == pytest.approx(values[:count].mean(dtype=np.float64), rel=1e-6)
        squares = np.square(values[:count], dtype=np.float64)
        assert line["square"] == pytest.approx(squares.mean(), rel=1e-6)
    [training] = lines(tmp_path / "run", "train")  # an epoch also has each example once
    assert training["loss"] == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)


# ---- another dataset ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"load": loader(inverted)},
        {"train": [inverted(record, None) for record in TRAIN]},
        {"test": [inverted(record, None) for record in HELD]},
        {"test": HELD[:-1]},
    ],
    ids=["load", "train", "test", "fewer"],
)
def test_a_run_does_not_resume_with_changed_data(tmp_path, changed):
    class Ended(Exception):
        pass

    def end(line):
        raise Ended

    with pytest.raises(Ended):
        fit(experiment(source(load=loader(noisy))), tmp_path / "run", devices=ONE, on=[end])
    mine = source(**{"load": loader(noisy), **changed})
    with pytest.raises(Mistake, match=r"the dataset differs from the one that .* was trained on"):
        fit(experiment(mine), tmp_path / "run", devices=ONE)


# ---- faults -------------------------------------------------------------------------------------


def with_one(index, **changed) -> list[dict]:
    records = list(TRAIN)
    records[index] = {**records[index], **changed}
    return records


def fails(record, rng):
    if "bad" in record:
        raise ZeroDivisionError("in my load")
    return record


IMAGE = TRAIN[0]["image"]
FAULTS = {
    "ragged": ({"image": IMAGE[:4]}, r"gives float32 of shape \(4, 8, 1\) where record 0 gives"),
    "another dtype": ({"image": IMAGE.astype(np.uint8)}, "gives uint8 of shape .*record 0 gives"),
    "text": ({"label": "five"}, "holds 'five'.*give load"),
    "an object": ({"label": object()}, "holds <object .*give load"),
    "NaN": ({"image": np.where(IMAGE == IMAGE, np.nan, IMAGE)}, "has NaN or infinity"),
    "another structure": ({"more": 1}, "gives an example with other parts than record 0"),
    "nothing": ({"label": None}, "gives an example with other parts than record 0"),
    "an exception": (
        {"bad": True},
        r"does not load \(ZeroDivisionError: in my load; (.*test_source.py, )?line \d+\)",
    ),
}


UNLIKE = ("ragged", "another dtype", "another structure", "nothing")  # other than record 0


@pytest.mark.parametrize(
    ("name", "at"),
    [(name, at) for name in FAULTS for at in (FOUND_AT_ONCE, FOUND_IN_TRAINING)]
    + [(name, 0) for name in FAULTS if name not in UNLIKE],
)
def test_a_fault_of_one_record_is_one_message_that_names_it(tmp_path, name, at):
    changed, message = FAULTS[name]
    mine = source(with_one(at, **changed), load=fails)
    with pytest.raises(Mistake, match=f"record {at} of train {message}") as refused:
        fit(experiment(mine), tmp_path / "run", devices=ONE)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert (tmp_path / "run").exists() == (at == FOUND_IN_TRAINING)


@pytest.mark.slow
def test_so_it_is_with_workers(tmp_path):
    changed, message = FAULTS["an exception"]
    mine = source(with_one(FOUND_IN_TRAINING, **changed), load=fails, workers=1)
    with pytest.raises(Mistake, match=f"record {FOUND_IN_TRAINING} of train {message}") as refused:
        fit(experiment(mine), tmp_path / "run", devices=ONE)
    assert not python_children(os.getpid())
    assert "\n" not in str(refused.value)


def test_a_fault_of_a_test_record_is_named(tmp_path):
    held = [dict(record) for record in HELD]
    held[3]["image"] = held[3]["image"][:4]
    with pytest.raises(Mistake, match="record 3 of test gives float32 of shape"):
        fit(experiment(source(test=held)), tmp_path / "run", devices=ONE)


def generated():
    yield from TRAIN


def gives_none(record, rng):
    pass


def swapped(rng, record, more):
    return record


REFUSED = {
    "an iterable": (lambda: source(train=generated()), "train of Source is .*no random access"),
    "an iterable test": (lambda: source(test=generated()), "test of Source is .*no random access"),
    "a set": (lambda: source(train={1, 2}), "train of Source is .*no random access"),
    "no records": (lambda: source(train=[]), "the train records of the source are none"),
    "no test records": (lambda: source(test=[]), "the test records of the source are none"),
    "a load that is none": (lambda: source(load=3), "load is 3: give a function of"),
    "a load of more": (lambda: source(load=swapped), "record 0 of train does not load .TypeError"),
    "test unlike train": (
        lambda: source(test=[{**record, "image": record["image"][:4]} for record in HELD]),
        "the test examples of the source are .*but the train examples are .*load both the same",
    ),
    "test with other parts": (
        lambda: source(test=[{**record, "more": 1} for record in HELD]),
        "the test examples of the source are .*but the train examples are",
    ),
    "no classes": (lambda: source(num_classes=None), "number of classes is not known"),
    "half a class": (lambda: source(num_classes=2.5), "num_classes"),
    "negative workers": (lambda: source(workers=-1), "workers"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_source_is_refused_before_anything_is_written(tmp_path, make, message):
    with pytest.raises(Mistake, match=message) as refused:
        fit(experiment(make()), tmp_path / "run", devices=ONE)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert not (tmp_path / "run").exists()


def test_a_load_that_returns_nothing_is_refused(tmp_path):
    with pytest.raises(Mistake, match=r"record 0 of train .*load"):
        fit(experiment(source(load=gives_none)), tmp_path / "run", devices=ONE)


@pytest.mark.parametrize("at", [FOUND_AT_ONCE, FOUND_IN_TRAINING])
@pytest.mark.parametrize("label", [10, -1])
def test_a_label_that_is_no_class_is_refused(tmp_path, label, at):
    mine = source(with_one(at, label=label))
    with pytest.raises(Mistake, match="label"):
        fit(experiment(mine), tmp_path / "run", devices=ONE)


def test_a_number_beyond_32_bits_is_refused(tmp_path):
    mine = source(with_one(FOUND_AT_ONCE, label=2**32 + 1))
    with pytest.raises(Mistake, match="beyond those of int32"):
        fit(experiment(mine), tmp_path / "run", devices=ONE)
