"""`jbatch.compare` and `jbatch.sweep`: studies of experiments made in Python."""

from dataclasses import replace
from pathlib import Path

import pytest
from flax import nnx

import jbatch
from jbatch import MLP, SGD, Arrays, Claim, Classify, Comparison, Digits, Experiment, Mistake
from jbatch.cli import main
from trained_runs import DIGITS, constant

PLAN = replace(constant(1), batch_size=40)
BASE = Experiment(
    PLAN, task=Classify(MLP((16,))), data=Digits(), micro_batch=5, updates_per_call=10
)
ARRAYS = replace(BASE, data=Arrays(DIGITS.train, DIGITS.test))
GROWN = replace(ARRAYS, plan=replace(PLAN, batch_size=80))
CLAIM = Comparison((Claim("small", same=("large",)),), margin=50, seeds=(0, 1))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(runs, folder) of a comparison of experiments on arrays."""
    out = str(tmp_path_factory.mktemp("study") / "out")
    variants = {"small": ARRAYS, "large": GROWN}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jbatch.report.figures.figures", lambda *_: [])  # as `undrawn`
        return jbatch.compare(variants, out, comparison=CLAIM, about="Two sizes."), out


def test_a_comparison_trains_every_variant_with_every_seed(compared):
    runs, _ = compared
    found = [(run.variant, run.seed, run.updates) for run in runs]
    assert found == [("small", 0, 37), ("small", 1, 37), ("large", 0, 18), ("large", 1, 18)]
    assert all(run.finished for run in runs)


@pytest.mark.usefixtures("undrawn")
def test_it_can_be_reported_and_its_runs_loaded(compared, capsys):
    runs, out = compared
    assert main(["report", out]) == 0
    text = Path(out, "report.html").read_text()
    assert "Two sizes." in text
    assert "claimed within ±50: as claimed" in text
    scores = jbatch.load(runs[-1].directory).evaluate(DIGITS.test)
    assert scores["accuracy"] == pytest.approx(runs[-1].evaluations[-1]["accuracy"])


@pytest.mark.usefixtures("undrawn")
def test_a_finished_comparison_is_not_trained_again(compared, capsys):
    _, out = compared
    again = jbatch.compare({"small": ARRAYS, "large": GROWN}, out, comparison=CLAIM)
    assert len(again) == 4
    assert capsys.readouterr().err.count("already trained") == 4


def test_another_experiment_does_not_take_its_place(compared):
    _, out = compared
    with pytest.raises(Mistake, match=r"holds a different run \(optimizer\.weight_decay is"):
        jbatch.compare({"small": replace(ARRAYS, optimizer=SGD(weight_decay=0.1))}, out, seeds=[0])


@pytest.mark.slow
def test_a_sweep_gives_the_warnings_of_a_plan_once(tmp_path, capsys):
    """Two runs have one plan, whose batches are over a tenth of the data."""
    large = replace(BASE, plan=replace(BASE.plan, batch_size=504, num_epochs=1))
    grid = {"optimizer.weight_decay": [0.0, 0.01]}
    runs = jbatch.sweep(large, grid, tmp_path / "decays", seeds=[0])
    assert len({run.plan.digest for run in runs}) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "over N/10" in line]
    assert [line.partition(" seed")[0] for line in said] == [runs[0].variant]


def test_a_sweep_is_every_combination(tmp_path):
    grid = {"plan.rate": [0.5, 1], "optimizer.weight_decay": [0.0, 0.01]}
    runs = jbatch.sweep(BASE, grid, tmp_path / "rates", seeds=[3])
    names = [run.variant for run in runs]
    assert names[0] == "rates, plan.rate 0.5, optimizer.weight-decay 0.0"
    assert len(names) == 4
    last = runs[-1].described
    assert (last["plan"]["rate"], last["optimizer"]["weight_decay"], last["seed"]) == (1, 0.01, 3)
    assert "against_test_error" in {path.stem for path in (tmp_path / "rates").glob("*.png")}


@pytest.mark.usefixtures("undrawn")
def test_a_files_variants_are_compared_as_by_the_command(tmp_path):
    code = """'''Digits.'''
from jbatch import MLP, Classify, Coupling, Digits, Experiment
plan = Coupling(lambda epoch: 0.05 + 0 * epoch, num_epochs=1, batch_size=40)
variants = {"one": Experiment(plan, task=Classify(MLP((16,))), data=Digits())}
"""
    (tmp_path / "file.py").write_text(code)
    [run] = jbatch.compare(jbatch.load_file(tmp_path / "file.py"), tmp_path / "out", seeds=[0])
    assert (run.directory / "experiment.py").read_text() == code
    command = ["compare", str(tmp_path / "file.py"), "--seeds", "0", "--out", str(run.directory)]
    assert main([*command[:-1], str(tmp_path / "out")]) == 0


@pytest.mark.slow
def test_a_finished_run_of_other_code_is_refused(tmp_path):
    """Two networks of one name, as after an edit."""

    def net(activation):
        class Net(nnx.Module):
            def __init__(self, rngs):
                self.first = nnx.Linear(64, 10, rngs=rngs)

            def __call__(self, image):
                return activation(self.first(image.ravel()))

        return Net

    def variants(activation):
        return {"one": replace(ARRAYS, task=Classify(net(activation)))}

    jbatch.compare(variants(nnx.relu), tmp_path, seeds=[0])
    jbatch.compare(variants(nnx.relu), tmp_path, seeds=[0])
    with pytest.raises(Mistake, match="was trained with other code"):
        jbatch.compare(variants(nnx.tanh), tmp_path, seeds=[0, 1])


def test_a_metric_that_is_not_scored_is_refused_before_the_first_update(tmp_path):
    with pytest.raises(
        Mistake, match=r"metric is .acuracy., which the runs do not score: .*did you mean"
    ):
        jbatch.compare({"a": ARRAYS}, tmp_path, comparison=Comparison(metric="acuracy"))
    assert not list(tmp_path.glob("**/checkpoints/*"))


REFUSED = {
    "no list of values": (lambda out: jbatch.sweep(BASE, {"plan.rate": 1}, out), "a list of val"),
    "a number of seeds": (lambda out: jbatch.compare({"a": BASE}, out, seeds=3), "seeds is 3"),
    "no variants": (lambda out: jbatch.compare({}, out), "give a dict of name → Experiment"),
    "no experiment": (lambda out: jbatch.compare({"a": 3}, out), "variant 'a' is 3"),
    "a name that is no folder": (
        lambda out: jbatch.compare({"a/b": BASE}, out),
        "which cannot name its run folders",
    ),
    "an unknown claim": (
        lambda out: jbatch.compare({"a": BASE}, out, comparison=CLAIM),
        "comparison names large, small, which is not a variant",
    ),
    "an unknown field": (
        lambda out: jbatch.sweep(BASE, {"optimizer.weight_decoy": [1]}, out),
        r"SGD has no field weight_decoy: give .*; did you mean weight_decay\?",
    ),
    "a field of a number": (
        lambda out: jbatch.sweep(BASE, {"seed.more": [1]}, out),
        "the grid has seed.more, but seed is 0, which has no fields",
    ),
    "a value twice": (
        lambda out: jbatch.sweep(BASE, {"plan.rate": [1, 1]}, out),
        "plan.rate 1 is in the grid twice",
    ),
    "a bad value": (lambda out: jbatch.sweep(BASE, {"plan.rate": [-1]}, out), "rate is -1"),
    "no value": (
        lambda out: jbatch.sweep(BASE, {"plan.rate": []}, out),
        "has no value of plan.rate",
    ),
    "a grid of seeds": (lambda out: jbatch.sweep(BASE, {"seed": [1]}, out), "give seeds="),
    "values that name no folder": (
        lambda out: jbatch.sweep(BASE, {"optimizer": [SGD(weight_decay=0.1)]}, out),
        "makes no folder's name: name such values as variants",
    ),
    "two functions of one name": (
        lambda out: jbatch.sweep(BASE, {"optimizer": [lambda r: None, lambda r: 1]}, out),
        "give each value once, and functions names of their own",
    ),
    "a seed twice": (lambda out: jbatch.compare({"a": BASE}, out, seeds=[1, 1]), "each once"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_study_is_one_mistake(tmp_path, name):
    make, message = REFUSED[name]
    with pytest.raises(Mistake, match=message):
        make(tmp_path / "out")
    assert not (tmp_path / "out").exists()
