"""What came from somewhere else is looked at, and not run."""

import importlib
import json
import re
import shutil
import stat
import sys
from pathlib import Path

import jax
import pytest

from commands import TINY
from jbatch.cli import main
from jbatch.errors import Mistake
from jbatch.run import provenance, reopen
from jbatch.run.loop import fit
from jbatch.run.reopen import load_experiment_file


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mine") / "run"
    file, devices = load_experiment_file(TINY), jax.devices()[:1]
    fit(file.variant("growing"), directory, origin=file.origin("growing"), devices=devices)
    return directory


@pytest.fixture
def foreign(mine, tmp_path, monkeypatch):
    """As another person has sent it, with a file that leaves a trace when it runs."""
    directory = shutil.copytree(mine, tmp_path / "run")
    trace = tmp_path / "ran"
    code = f"import pathlib; pathlib.Path({str(trace)!r}).touch()\n"
    code += (directory / "experiment.py").read_text()
    (directory / "experiment.py").write_text(code)
    return directory, trace


@pytest.mark.usefixtures("undrawn")
def test_code_from_elsewhere_does_not_run_unless_it_is_trusted(foreign, capsys):
    directory, trace = foreign
    assert main(["report", str(directory)]) == 0  # it needs no code
    assert main(["eval", str(directory)]) == 2
    assert "experiment.py: it was not created by you" in capsys.readouterr().err
    assert not trace.exists()
    assert main(["eval", str(directory), "--trust"]) == 0
    assert trace.exists()


MINE = """
import importlib
from parts.rates import RATE
assert RATE == 0.2
importlib.import_module("dynamic")

class Own(Digits):
    def load(self):
        import late
        assert late.NUMBER == 3
        return Digits.load(self)

variants = {name: replace(one, data=Own()) for name, one in variants.items()}
"""
BESIDE = {
    "parts/rates.py": "from . import factor\nRATE = 0.1 * factor.TWO\n",
    "parts/factor.py": "TWO = 2\n",
    "late.py": "NUMBER = 3\n",
    "dynamic.py": "",
    "unused.py": "",
}


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """(folder of an experiment file that imports others in every way, its run's directory)."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    home, directory = tmp_path / "home", tmp_path / "run"
    (home / "parts").mkdir(parents=True)
    for name, text in BESIDE.items():
        (home / name).write_text(text)
    text = TINY.read_text().replace(
        "import optax\n", "from dataclasses import replace\nimport optax\n"
    )
    file = home / "mine.py"
    file.write_text(text + MINE)
    arguments = ["train", str(file), "growing", "--run-dir", str(directory)]
    assert main([*arguments, "--plan.num-epochs", "1"]) == 0
    return home, directory


def test_modules_that_the_file_imports_are_kept_and_imported_again(own_modules):
    """As they were: in packages, within functions, and by a name made while it runs."""
    home, directory = own_modules
    code = directory / "code"
    kept = {path.relative_to(code).as_posix() for path in code.glob("**/*.py")}
    assert kept == BESIDE.keys() - {"unused.py"}
    for name in BESIDE:
        (home / name).write_text("raise SystemError\n")
    assert main(["eval", str(directory)]) == 0
    shutil.rmtree(home)
    assert main(["eval", str(directory)]) == 0


def test_they_are_sealed_with_the_file(own_modules, capsys):
    _, directory = own_modules
    (directory / "code" / "late.py").write_text("NUMBER = 1 + 2\n")
    assert main(["eval", str(directory)]) == 2
    assert f"Read it, and {directory / 'code'}, then pass --trust" in capsys.readouterr().err
    assert main(["eval", str(directory), "--trust"]) == 0


def test_each_file_has_its_own_module_of_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for width in (8, 9, 10):
        folder = tmp_path / str(min(width, 9))  # the last is the second, changed
        folder.mkdir(exist_ok=True)
        (folder / "width.py").write_text(f"WIDTH = {width}\n")
        text = TINY.read_text().replace("hidden=(32,)", "hidden=(WIDTH,)")
        (folder / "mine.py").write_text("from width import WIDTH\n" + text)
        file = load_experiment_file(folder / "mine.py")
        assert file.variants["growing"].task.model.hidden == (width,)
        assert file.modules == {"width.py": f"WIDTH = {width}\n"}


def test_other_modules_beside_a_file_hide_none_elsewhere(tmp_path, monkeypatch):
    """A module of the same name as one beside the file is found where it would be without it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *sys.path])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for folder, number in (("beside", 1), ("elsewhere", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "of_one_name.py").write_text(f"NUMBER = {number}\n")
    (tmp_path / "beside" / "mine.py").write_text(TINY.read_text())
    load_experiment_file(tmp_path / "beside" / "mine.py")
    assert importlib.import_module("of_one_name").NUMBER == 2
    monkeypatch.delitem(sys.modules, "of_one_name")


def test_a_relative_import_of_the_file_is_said(tmp_path):
    (tmp_path / "mine.py").write_text("from .width import WIDTH\n")
    with pytest.raises(Mistake, match=r"write `from net import …` for `from \.net import …`"):
        load_experiment_file(tmp_path / "mine.py")


@pytest.mark.parametrize("verb", ["train", "plan", "compare"])
def test_nor_if_its_file_is_given(foreign, capsys, verb):
    directory, trace = foreign
    assert main([verb, str(directory / "experiment.py"), "growing"]) == 2
    assert "experiment.py: it was not created by you" in capsys.readouterr().err
    assert not trace.exists()
    assert main(["plan", str(directory / "experiment.py"), "growing", "--trust"]) == 0
    assert trace.exists()


def test_a_file_that_changes_after_it_was_checked_runs_as_it_was(mine, monkeypatch):
    file = mine / "experiment.py"
    code = file.read_text()

    def check(path, checked, run, modules):
        path.write_text("raise SystemError")

    monkeypatch.setattr(reopen, "check_own", check)
    try:
        assert "growing" in load_experiment_file(file).variants
    finally:
        file.write_text(code)


@pytest.mark.parametrize(
    "origin",
    ["growing", {}, {"variant": 3, "overrides": []}, {"variant": "growing", "overrides": 3}]
    + [{"variant": "growing", "overrides": [], "seal": seal} for seal in ({}, "ä", "00")],
    ids=str,
)
def test_what_is_no_origin_is_said(mine, tmp_path, capsys, origin):
    directory = shutil.copytree(mine, tmp_path / "run")
    values = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(values | {"origin": origin}))
    assert main(["eval", str(directory)]) == 2
    assert re.search("run.json is damaged|pass --trust", capsys.readouterr().err)


def test_another_persons_seal_is_none(mine, tmp_path, capsys, monkeypatch):
    assert main(["eval", str(mine)]) == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["eval", str(mine)]) == 2
    provenance.seal("they have a key of their own, too")
    assert main(["eval", str(mine)]) == 2
    assert "pass --trust" in capsys.readouterr().err


def test_other_overrides_are_not_what_was_sealed(mine, tmp_path, capsys):
    directory = shutil.copytree(mine, tmp_path / "run")
    path = directory / "run.json"
    trace = tmp_path / "written"
    overrides = f'"overrides": ["--tyro-write-completion", "bash", "{trace}"]'
    path.write_text(path.read_text().replace('"overrides": []', overrides))
    assert main(["eval", str(directory)]) == 2
    assert "pass --trust" in capsys.readouterr().err
    assert not trace.exists()


def test_comparing_runs_the_given_file_alone(foreign, capsys):
    directory, trace = foreign
    out = directory.parent / "out"
    (out / "growing").mkdir(parents=True)
    directory.rename(out / "growing" / "seed-0")
    assert main(["compare", str(TINY), "growing", "--seeds", "0", "--out", str(out)]) == 0
    assert not trace.exists()


@pytest.mark.usefixtures("undrawn")
def test_what_a_run_says_of_itself_is_text_in_the_report(mine, tmp_path, capsys):
    directory = shutil.copytree(mine, tmp_path / "run")
    path = directory / "run.json"
    path.write_text(
        path.read_text().replace('"machine": "', '"machine": "<script>alert()</script>')
    )
    assert main(["report", str(directory)]) == 0
    page = (directory / "report.html").read_text()
    assert "&lt;script&gt;alert()" in page
    assert "<script>" not in page


def test_the_key_is_the_persons_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert not provenance.sealed("code", provenance._seal(b"", "code"))  # without a key nothing is
    mark = provenance.seal("code")
    assert provenance.sealed("code", mark)
    assert not provenance.sealed("other code", mark)
    assert not provenance.sealed("code", None)
    assert stat.S_IMODE((tmp_path / "jbatch" / "key").stat().st_mode) == 0o600


def test_where_no_key_can_be_kept_nothing_is_sealed(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / Path("below")))
    assert provenance.seal("code") is None
    assert not provenance.sealed("code", None)


def test_links_in_a_run_directory_lead_nowhere(mine, tmp_path):
    """What another person has sent may point at this person's files."""
    directory = shutil.copytree(mine, tmp_path / "run")
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    experiment = load_experiment_file(TINY).variant("growing")
    (directory / "metrics.jsonl.tmp").symlink_to(precious)
    fit(experiment, directory, devices=jax.devices()[:1])
    (directory / "training_loss_epochs.png").symlink_to(precious)
    assert main(["report", str(directory)]) == 0
    (directory / "lock").unlink()
    (directory / "lock").symlink_to(precious)
    with pytest.raises(Mistake, match=r"cannot write to .*lock: Too many levels"):
        fit(experiment, directory, devices=jax.devices()[:1])
    assert precious.read_text() == "mine\n"
