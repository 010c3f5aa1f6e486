"""The probe: its answer on a quadratic is the exact one, and it leaves the run as it is."""

import hashlib
import json
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import jbatch as jb
from commands import TINY
from jbatch.analysis.probe import checkpoints_at, probe
from jbatch.cli import main
from jbatch.errors import Mistake
from jbatch.plan.critical import critical
from trained_runs import ONE

DIMENSIONS, COUNT, BATCH, RATE = 128, 12_000, 8, 0.2
ASKED = {"multiples": (1, 2, 4, 8), "window": 4096, "tolerance": 1.2, "seed": None}


def squared_distance(params, example, key):
    """A quadratic of curvature 1 around each example, less what no parameter changes."""
    del key
    return (params**2).sum() / 2 - (params * example["x"]).sum()


def quadratic(schedule=lambda _: RATE) -> jb.Experiment:
    """Noise alone: it starts at the minimum, and is in its stationary state soon."""
    drawn = np.random.default_rng(0).normal(size=(COUNT, DIMENSIONS)).astype(np.float32)
    examples = {"x": drawn - drawn.mean(0)}
    return jb.Experiment(
        jb.Coupling(schedule, batch_size=BATCH, unit="examples", length=8000),
        task=jb.Functions(lambda *_: jnp.zeros(DIMENSIONS), squared_distance),
        data=jb.Arrays(examples, {"x": examples["x"][:8]}),
        micro_batch=BATCH,
        save_every=4000,
        keep_every=4000,
        updates_per_call=50,
    )


@pytest.fixture(scope="module")
def stationary(tmp_path_factory):
    """(experiment, directory of its run)."""
    directory = tmp_path_factory.mktemp("quadratic") / "run"
    jb.fit(quadratic(), directory, devices=ONE)
    return quadratic(), directory


def test_the_answer_on_a_quadratic_is_the_exact_one(stationary):
    """A second moment is m = (1 − ε)² m + ε²/B in the stationary state, so m = ε/(B(2 − ε)).

    A branch of k times the batch has kε and ε/B, and the expected loss d/2 · ε/(B(2 − kε)).
    """
    experiment, directory = stationary
    found = probe(experiment, directory, at=(0.5,), **ASKED, say=lambda _: None)
    [place] = found.places
    assert place.window.position == 4000
    exact = {k: DIMENSIONS / 2 * RATE / BATCH / (2 - k * RATE) for k in (1, 2, 4, 8)}
    # Over 2,048 examples. The examples of the mean make half a percent of |w|·√(1/2048) = 0.03 and
    # the state, of 128 independent directions and a memory of some updates, about 2%.
    for branch in place.branches:
        above = branch.loss - place.branches[0].loss
        expected = exact[branch.multiple] - exact[1]
        assert above == pytest.approx(expected, rel=0.12, abs=0.06), branch.multiple
        assert branch.learning_rate == pytest.approx(branch.multiple * RATE)
    within = [k for k in exact if exact[k] <= exact[1] + ASKED["tolerance"]]
    assert critical(place.branches, ASKED["tolerance"]).multiple == max(within) == 4
    # trΣ/|G|² = d/(d·m): B(2 − kε)/ε, from 128 updates of the branch in 8 parts each.
    best = critical(place.branches, ASKED["tolerance"])
    assert best.noise_scale == pytest.approx(BATCH * (2 - 4 * RATE) / RATE, rel=0.1)
    assert found.ramp == "0:8 4000:32"
    assert found.ramp_updates == 500 + 125
    assert (found.seed, found.examples, found.cost) == (1, 4 * 4096, 4 * 4096 / 8000)


def test_on_the_runs_own_data_its_batch_would_win(stationary):
    experiment, directory = stationary
    with pytest.raises(Mistake, match="--seed is 0, the run's own"):
        probe(experiment, directory, at=(0.5,), **ASKED | {"seed": 0}, say=print)


def test_a_run_that_diverges_has_no_critical_batch(stationary, tmp_path):
    experiment = quadratic(lambda x: RATE + 3 * (x // 4000))
    with pytest.raises(jb.Mistake):  # it diverges after its checkpoint
        jb.fit(experiment, tmp_path / "run", devices=ONE)
    with pytest.raises(Mistake, match=r"keeps the batch of 8 diverges from 4,000 examples on"):
        probe(experiment, tmp_path / "run", at=(0.5,), **ASKED, say=lambda _: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("probe") / "run"
    command = ("train", str(TINY), "decaying", "--run-dir", str(directory), "--keep-every", "1")
    assert main(command) == 0
    return directory


def contents(directory):
    """Every file of a run with the digest of its bytes."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_command_prints_a_ramp_and_leaves_the_run_as_it_is(trained, jbatch):
    before = contents(trained)
    asked = ("--at", 0.25, 0.5, "--multiples", 1, 3, "--window", 0.5, "--tolerance", 0.5)
    code, out, err = jbatch("probe", trained, *asked)
    assert code == 0, err
    after = contents(trained)
    made = {str(path) for path in after.keys() - before.keys()}
    figures = {f"probe/{name}.{form}" for name in ("losses", "critical") for form in ("svg", "png")}
    assert made == {"probe/probe.json", *figures}
    assert {path: after[path] for path in before} == before
    values = json.loads((trained / "probe" / "probe.json").read_text())
    assert [place["epochs"] for place in values["places"]] == [1, 2]
    for place in values["places"]:
        assert [branch["batch_size"] for branch in place["branches"]] == [40, 120]
        assert [branch["updates"] for branch in place["branches"]] == [21, 7]
        assert place["window"] == 840
    # At such a tolerance every batch will do.
    assert values["places"][0]["critical_batch_size"] == 120
    assert values["places"][0]["at_least"]
    assert values["ramp"] == "0:40 1:120"
    assert f'ramp="{values["ramp"]}"' in out
    assert values["ramp_updates"] == 37 + 3 * 12
    assert values["cost"]["share"] == pytest.approx(4 * 840 / 6000)
    assert "epoch 1: critical batch at least 120; gradient noise scale not measured" in out
    code, out, err = jbatch("probe", trained, *asked, "--json")
    again = json.loads(out)
    assert again["places"] == values["places"]  # to the bit
    code, _, err = jbatch("plan", TINY, "decaying", "--plan.ramp", values["ramp"])
    assert "batch_sizes and ramp each set the batch sizes" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one directory first, not 0"),
        (("nowhere",), "nowhere is not a run directory"),
        (("RUN", "--at", "0"), "--at is 0: give shares of the run, over 0 and under 1"),
        (("RUN", "--at", "1.0"), "--at is 1: give shares of the run, over 0 and under 1"),
        (("RUN", "--at", "nan"), "--at is nan: give shares of the run"),
        (("RUN", "--at", "0.5", "0.5"), "--at 0.5 0.5: give each value once"),
        (("RUN", "--multiples", "0", "2"), "--multiples is 0: give a whole number of at least 1"),
        (("RUN", "--multiples", "1.5"), "--multiples is 1.5: give whole numbers"),
        (("RUN", "--multiples", "1"), "--multiples has none over 1"),
        (("RUN", "--at", "0.5", "--multiples", "38"), "--multiples has 38: at epoch 2 that is a"),
        (("RUN", "--window", "0"), "--window is 0.0: give a length in plan.unit over 0"),
        (("RUN", "--tolerance", "-1"), "--tolerance is -1.0: give at least 0"),
        (
            ("RUN", "--at", "0.4"),
            "has no checkpoint near 0.4 of its run: it kept those at 0.25 0.5",
        ),
        (("RUN", "--at", "0.5", "0.51"), "--at 0.5 and 0.51 have the same nearest checkpoint"),
    ],
)
def test_mistakes(trained, jbatch, arguments, message):
    given = [str(trained) if each == "RUN" else each for each in arguments]
    code, out, err = jbatch("probe", *given)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_checkpoints_near_the_places_are_taken_and_others_are_refused(tmp_path):
    plan = jb.couple(lambda _: 0.1, num_examples=1000, num_epochs=20, batch_size=10)
    said = []
    at = partial(checkpoints_at, plan, directory=tmp_path, say=said.append)
    assert at([2000, 6000, 20_000], at=(0.3, 0.1)) == [6000, 2000]
    assert said == []
    assert at([2800], at=(0.1,)) == [2800]
    assert said == ["--at 0.1: the nearest checkpoint is at epoch 2.8 (0.14 of the run)"]
    with pytest.raises(Mistake, match=r"at 0\.1\. .* anew with --keep-every 2, .* 0\.1 0\.3 0\.6"):
        at([2000, 20_000], at=(0.1, 0.3, 0.6))
    with pytest.raises(Mistake, match=r"it has none from before its end\. .* --keep-every 18, "):
        at([20_000], at=(0.9,))
    with pytest.raises(Mistake, match=r"--keep-every 0\.5, .* each of 0\.125 0\.3"):
        at([], at=(0.125, 0.3))


def test_a_link_is_not_written_through(trained, jbatch, tmp_path):
    link = trained / "probe"
    aside = tmp_path / "aside"
    if link.exists():
        link.rename(aside)
    link.symlink_to(tmp_path)
    code, _, err = jbatch("probe", trained, "--at", 0.5)
    link.unlink()
    assert code == 2
    assert "probe is a link" in err
