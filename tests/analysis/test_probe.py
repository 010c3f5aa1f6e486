"""The probe: its answer on a quadratic is the exact one, and it leaves the run as it is."""

import hashlib
import json
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import jbatch as jb
import quadratic
from jbatch.analysis.branches import Trainer
from jbatch.analysis.probe import checkpoints_at
from jbatch.analysis.unfinished import Key, unfinished
from jbatch.cli import main
from jbatch.errors import Mistake
from jbatch.plan.branch import Window
from jbatch.plan.critical import Branch
from quadratic import BATCH, DIMENSIONS, RATE

FILE = Path(quadratic.__file__)
TOLERANCE = 1.2


@pytest.fixture(scope="module")
def stationary(tmp_path_factory):
    """The directory of a run that is in its stationary state at its checkpoint, of 4,000."""
    directory = tmp_path_factory.mktemp("quadratic") / "run"
    assert main(["train", str(FILE), "stationary", "--run-dir", str(directory)]) == 0
    return directory


def contents(directory):
    """Every file of a run with the digest of its bytes."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_answer_on_a_quadratic_is_the_exact_one(stationary, jbatch):
    """A second moment is m = (1 − ε)² m + ε²/B in the stationary state, so m = ε/(B(2 − ε)).

    A branch of k times the batch has kε and ε/B, and the expected loss d/2 · ε/(B(2 − kε)).
    """
    before = contents(stationary)
    asked = ("--at", 0.5, "--window", 4096, "--tolerance", TOLERANCE, "--json")
    code, out, err = jbatch("probe", stationary, *asked)
    assert code == 0, err
    values = json.loads(out)
    [place] = values["places"]
    assert (place["examples"], place["batch_size"], place["window"]) == (4000, BATCH, 4096)
    exact = {k: DIMENSIONS / 2 * RATE / BATCH / (2 - k * RATE) for k in (1, 2, 4, 8)}
    # Over 2,048 examples: their own mean moves a loss by |w|/√2048 = 0.03 to 0.06, and the state,
    # of 128 independent directions with a memory of some updates, by 2 to 4% of itself.
    losses = {branch["multiple"]: branch["loss"] for branch in place["branches"]}
    for k, loss in losses.items():
        expected = pytest.approx(exact[k] - exact[1], rel=0.12, abs=0.08)
        assert loss - losses[1] == expected, k
    within = [k for k in exact if exact[k] <= exact[1] + TOLERANCE]
    assert place["critical_batch_size"] == BATCH * max(within) == 32
    assert not place["at_least"]
    # trΣ/|G|² is d/(d·m) = B(2 − kε)/ε. From 128 updates of 8 parts each.
    assert place["noise_scale"] == pytest.approx(BATCH * (2 - 4 * RATE) / RATE, rel=0.1)
    assert values["ramp"] == "0:8 4000:32"
    assert values["ramp_updates"] == 500 + 125
    cost = values["cost"]
    assert (cost["examples"], cost["share"]) == (4 * 4096, 4 * 4096 / 8000)
    # It has changed no file.
    after = contents(stationary)
    made = {str(path) for path in after.keys() - before.keys()}
    figures = {f"probe/{name}.{form}" for name in ("losses", "critical") for form in ("svg", "png")}
    assert made == {"probe/probe.json", *figures}
    assert {path: after[path] for path in before} == before
    assert json.loads((stationary / "probe" / "probe.json").read_text()) == values


def test_the_text_says_what_to_paste(stationary, jbatch):
    asked = ("--at", 0.5, "--multiples", 2, "--window", 32, "--tolerance", 99)
    code, out, err = jbatch("probe", stationary, *asked)
    assert code == 0, err
    assert "4,000 examples, over 32 examples: critical batch at least 16; gradient noise" in out
    assert '\n  ramp="0:8 4000:16"\n' in out
    again = jbatch("probe", stationary, *asked)[1]
    assert again.partition("The probe trained")[0] == out.partition("The probe trained")[0]
    code, out, err = jbatch("plan", FILE, "stationary", "--plan.ramp", "0:8 4000:16", "--json")
    assert code == 0, err
    assert [phase["batch_size"] for phase in json.loads(out)["phases"]] == [8, 16]


def test_a_probe_that_was_interrupted_goes_on(stationary, tmp_path, monkeypatch, capsys):
    """Also if the run has meanwhile removed the checkpoint that it began from."""
    asked = {"at": np.array([0.5]), "multiples": 2 ** np.arange(3), "window": 64}
    asked |= {"tolerance": np.float32(9), "seed": np.int64(1)}
    whole = jb.probe(stationary, **asked)
    assert str(whole).endswith(" s.")
    assert whole.critical_batch_sizes == {0.5: 32}
    run, trained, train = tmp_path / "run", [], Trainer.train
    shutil.copytree(stationary, run)

    def until_four(*given):
        trained.append(given[-1])
        if trained == [1, 2, 4]:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(Trainer, "train", until_four)
    with pytest.raises(KeyboardInterrupt):
        jb.probe(run, **asked)
    shutil.rmtree(run / "checkpoints" / "4000")
    with (run / "probe" / "unfinished" / "branches.jsonl").open("a") as file:
        file.write('{"plan": ')  # a line that was cut off
    found = jb.probe(jb.load(run), **asked)
    assert trained == [1, 2, 4, 4]
    assert "jbatch: 4,000 examples: batch 16, finished earlier\n" in capsys.readouterr().err
    assert found.places == whole.places
    assert found.ramp == whole.ramp
    assert not (run / "probe" / "unfinished").exists()


def test_a_checkpoint_that_is_removed_meanwhile_is_said(tmp_path):
    with (
        pytest.raises(Mistake, match="removed its checkpoint of 4,000 examples while jbatch read"),
        unfinished(tmp_path) as kept,
    ):
        kept.keep_checkpoint(4000)


def test_branches_that_diverged_are_kept(tmp_path):
    key = Key("plan", Window(0, 8, 16, 2), multiple=2, seed=1)
    branch = Branch(2, 16, 2, 0.1, (1.0, math.inf), (16.0, 16.0), None)
    with unfinished(tmp_path) as kept:
        kept.add(key, branch, 3.0)
    with unfinished(tmp_path) as kept:
        again, seconds = kept.branch(key)
        assert kept.branch(key._replace(seed=2)) is None
    assert (again.loss, seconds, again[:4]) == (math.inf, 3.0, branch[:4])


@pytest.mark.slow
def test_a_run_that_diverges_has_no_critical_batch(tmp_path, jbatch):
    assert jbatch("train", FILE, "diverging", "--run-dir", tmp_path / "run")[0] == 2
    code, _, err = jbatch("probe", tmp_path / "run", "--at", 0.5, "--window", 4096)
    assert code == 2
    assert "the branch that keeps the batch of 8 diverges from 4,000 examples on" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one directory first, not 0"),
        (("nowhere",), "nowhere is not a run directory"),
        (("RUN", "--at", "0"), "at is 0: give shares of the run, over 0 and under 1"),
        (("RUN", "--at", "1.0"), "at is 1: give shares of the run, over 0 and under 1"),
        (("RUN", "--at", "nan"), "at is nan: give shares of the run"),
        (("RUN", "--at", "0.5", "0.5"), "at has 0.5 0.5: give each once"),
        (("RUN", "--multiples", "0", "2"), "multiples is 0: give a whole number of at least 1"),
        (("RUN", "--multiples", "1.5"), "--multiples is 1.5: give whole numbers with spaces"),
        (("RUN", "--multiples", "1"), "multiples has none over 1"),
        (("RUN", "--at", "0.5", "--multiples", "1001"), "multiples has 1,001: at 4,000 examples"),
        (("RUN", "--window", "0"), "window is 0.0: give a length in plan.unit over 0"),
        (
            ("RUN", "--at", "0.5", "--window", "31"),
            "window is 31 examples, and at 4,000 examples all",
        ),
        (("RUN", "--at", "0.5", "--seed", "0"), "seed is 0, the run's own: its batch would win"),
        (("RUN", "--tolerance", "-1"), "tolerance is -1.0: give at least 0"),
        (
            ("RUN", "--at", "0.4"),
            "has no checkpoint near 0.4 of its run: it kept those at 0.5. Give some of",
        ),
        (("RUN", "--at", "0.5", "0.51"), "at 0.5 and 0.51 have the same nearest checkpoint"),
    ],
)
def test_mistakes(stationary, jbatch, arguments, message):
    given = [str(stationary) if each == "RUN" else each for each in arguments]
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
    assert said == ["at 0.1: the nearest checkpoint is at epoch 2.8 (0.14 of the run)"]
    with pytest.raises(Mistake, match=r"at 0\.1\. .* anew with --keep-every 2, .* 0\.1 0\.3 0\.6"):
        at([2000, 20_000], at=(0.1, 0.3, 0.6))
    with pytest.raises(Mistake, match=r"it has none from before its end\. .* --keep-every 18, "):
        at([20_000], at=(0.9,))
    with pytest.raises(Mistake, match=r"--keep-every 0\.5, .* each of 0\.125 0\.3"):
        at([], at=(0.125, 0.3))


def test_a_link_is_not_written_through(stationary, jbatch, tmp_path):
    link = stationary / "probe"
    aside = tmp_path / "aside"
    if link.exists():
        link.rename(aside)
    link.symlink_to(tmp_path)
    code, _, err = jbatch("probe", stationary, "--at", 0.5)
    link.unlink()
    assert code == 2
    assert "probe is a link" in err
