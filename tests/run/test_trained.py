"""A trained model in the hand, its file, and runs that begin with its weights."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

import jbatch as jb
from jbatch import MLP, Classify, Coupling, Digits, Experiment, Mistake, Weights
from jbatch.optim import named
from jbatch.run.build import counted
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.metrics import read_metrics
from jbatch.run.start import open_run
from jbatch.run.trained import weights
from runs import without_times

ONE = jax.devices()[:1]
DIGITS = Digits().load()


def constant(num_epochs=4) -> Coupling:
    return Coupling(optax.constant_schedule(0.05), num_epochs=num_epochs, batch_size=50)


# In its last epoch the rate is far too large, so that the best evaluation is not the last.
SPOILT = Coupling(
    optax.piecewise_constant_schedule(0.1, {3: 12}), num_epochs=4, batch_size=50, momentum=0.9
)
FIRST = Experiment(
    SPOILT,
    task=Classify(MLP((32,))),
    data=Digits(),
    average=1500,
    save_every=1,
    keep_every=2,
    keep_best="loss",
    updates_per_call=10,
    micro_batch=50,
)
TUNED = Experiment(
    constant(),
    task=Classify(MLP((32,))),
    data=Digits(),
    seed=5,
    save_every=1,
    updates_per_call=10,
    micro_batch=50,
)


class Ended(Exception):
    """What a callback raises."""


def evaluations(directory) -> list[dict]:
    return [
        line for line in read_metrics(Path(directory) / "metrics.jsonl") if line["kind"] == "eval"
    ]


def accuracy(logits) -> float:
    return float((logits.argmax(1) == DIGITS.test["label"]).mean())


def same(one, other) -> bool:
    here, there = jax.tree.leaves(one), jax.tree.leaves(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b)
        for a, b in zip(here, there, strict=True)
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """(finished run, its directory as text)."""
    directory = str(tmp_path_factory.mktemp("first") / "run")
    return jb.fit(FIRST, directory, devices=ONE), directory


@pytest.fixture(scope="module")
def model(first):
    return jb.load(first[1])


# ---- load and predict ---------------------------------------------------------------------------


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
    "examples",
    [
        {},
        DIGITS.test["image"],
        {"image": DIGITS.test["image"][0]},
        {"image": DIGITS.test["image"][:3], "label": DIGITS.test["label"][:2]},
    ],
    ids=["nothing", "no names", "no axis over examples", "other lengths"],
)
def test_examples_unlike_those_of_training_are_one_mistake(model, examples):
    with pytest.raises(Mistake):
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
        (1500, r"has no checkpoint of 1,500 examples \(has: 3,000, 4,500, 6,000\)"),
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


# ---- export -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["last", "best", 3000])
def test_export_writes_every_array_bit_for_bit(first, tmp_path, jbatch, step):
    to = tmp_path / "weights.safetensors"
    code, out, err = jbatch("export", first[1], "--to", to, "--step", step)
    assert (code, err) == (0, "")
    model = jb.load(first[1], step)
    arrays, what = load_file(to), json.loads(to.with_suffix(".json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {to.name, to.with_suffix(".json").name}
    assert arrays.keys() == weights(model).keys() == what["arrays"].keys()
    assert {name.partition("/")[0] for name in arrays} == {"params", "average"}
    for path, leaf in named({"params": model.params, "average": model.average}):
        found = arrays[path.replace(".", "/")]
        assert found.dtype == leaf.dtype
        assert found.tobytes() == np.asarray(leaf).tobytes()
    for name, array in arrays.items():
        assert what["arrays"][name] == {"dtype": str(array.dtype), "shape": list(array.shape)}
    assert what["metrics"] == model.metrics
    assert what["examples"] == model.examples
    numbers = sum(array.size for array in arrays.values())
    assert out.startswith(
        f"{len(arrays)} arrays with {numbers:,} numbers, after {model.examples:,}"
    )


def test_exported_arrays_predict_in_numpy(first, model, tmp_path, jbatch):
    """With the shift and factor that stand in the JSON file, and nothing of jbatch."""
    to = tmp_path / "w.safetensors"
    assert jbatch("export", first[1], "--to", to)[0] == 0
    arrays, what = load_file(to), json.loads(to.with_suffix(".json").read_text())
    kernels = sorted(name for name in arrays if name.startswith("params/") and "kernel" in name)
    head, layer = kernels
    by = what["normalization"]
    x = (DIGITS.test["image"].astype(np.float32) - by["shift"]) * by["factor"]
    hidden = x.reshape(297, -1) @ arrays[layer] + arrays[layer.replace("kernel", "bias")]
    logits = np.maximum(hidden, 0) @ arrays[head] + arrays[head.replace("kernel", "bias")]
    np.testing.assert_allclose(logits, model.predict(DIGITS.test), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "w.npz"), "--to is w.npz: give a name that ends in .safetensors"),
        (("--to", "safetensors"), "give a name that ends in .safetensors"),
        (("--to", "w.safetensors", "--step", "newest"), "--step is newest"),
        (("--to", "w.safetensors", "--step", "-1"), "--step is -1"),
        (("--to", "w.safetensors", "--step", "1500"), "has no checkpoint of 1,500 examples"),
        ((), "--to"),
    ],
)
def test_export_refuses(first, tmp_path, jbatch, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = jbatch("export", first[1], *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert not list(tmp_path.iterdir())


def test_export_of_another_users_run_asks_for_trust(first, tmp_path, jbatch, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    to = tmp_path / "w.safetensors"
    code, _, err = jbatch("export", first[1], "--to", to)
    assert code == 2
    assert "--trust" in err
    assert not to.exists()
    assert jbatch("export", first[1], "--to", to, "--trust")[0] == 0
    assert to.exists()


# ---- weights of another run ---------------------------------------------------------------------


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


# ---- callbacks ----------------------------------------------------------------------------------

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
