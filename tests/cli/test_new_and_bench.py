"""What a new user does first: `jbatch new`, and `jbatch bench` of that file."""

import dataclasses
import json

import pytest

from jbatch import load_file


@pytest.fixture
def written(tmp_path, monkeypatch, jbatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = jbatch("new", "my_experiment.py")
    assert (code, err) == (0, "")
    return tmp_path / "my_experiment.py", out


def test_a_new_file_is_an_experiment_and_its_claims_are_those_of_its_plan(written):
    path, out = written
    file = load_file(path)
    assert list(file.variants) == ["decaying", "growing"]
    assert "Command:  jbatch compare my_experiment.py" in file.docstring
    assert "FILE" not in path.read_text()
    decaying, growing = (
        len(dataclasses.replace(variant.plan, num_examples=1500).plan())
        for variant in file.variants.values()
    )
    assert growing < decaying / 2  # as its docstring says
    for verb in ("plan my_experiment.py growing", "compare my_experiment.py"):
        assert f"  jbatch {verb} " in out


def test_the_plan_that_new_offers_is_printed(written, jbatch):
    """A training of the file is in test_package.py."""
    _, out = written
    [command] = [line.split("#")[0].split() for line in out.splitlines() if "jbatch plan" in line]
    code, printed, _ = jbatch(*command[1:])
    assert code == 0
    assert "noise scale" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one file to write, not 0: jbatch new FILE"),
        (("a.py", "b.py"), "give one file to write, not 2"),
        (("notes.txt",), "notes.txt does not end in .py"),
        (("nowhere/it.py",), "there is no folder nowhere: create it"),
        (("my_experiment.py",), "my_experiment.py exists: give another name"),
    ],
)
def test_what_new_refuses(written, jbatch, arguments, message):
    path, _ = written
    before = path.read_text()
    code, out, err = jbatch("new", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert path.read_text() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_bench_measures_each_batch_size_and_leaves_nothing(written, jbatch):
    path, _ = written
    quick = ("--seconds", 0.02, "--windows", 2, "--plan.batch-sizes", 16, 64)
    sizes = (*quick, "--plan.growth-factor", "None", "--plan.max-batch-size", 64)
    code, out, err = jbatch("bench", path, "growing", *sizes, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [each["batch_size"] for each in found] == [16, 64]
    assert all(0 < each["fastest"] <= each["seconds"] <= each["slowest"] for each in found)
    assert sum(each["updates"] for each in found) < 20 * 93
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_bench_of_nothing_says_what_to_give(written, jbatch):
    code, _, err = jbatch("bench")
    assert code == 2
    assert "give an experiment to measure: jbatch bench FILE VARIANT" in err
