"""What the Tab key completes."""

import shutil
import subprocess

import pytest

from commands import TINY
from jbatch.cli import VERBS
from jbatch.cli.completion import options_of
from jbatch.experiment.named import variants_of

FILES = {
    'variants = {"a b": 1, "ü": 2, 3: 4, f"{x}": 5}': ["a b", "ü"],
    'X = {"a": 1, "b": 2}\nvariants = {name: f(it) for name, it in X.items()}': ["a", "b"],
    'variants = {n: f(x) for n, x, y in (("a", 1, 2), ("b", 3, 4))}': ["a", "b"],
    'variants = {n: f(n) for n in ["a", "b"]}': ["a", "b"],
    'variants = {f"{n}-1": f(n) for n in ["a", "b"]}': [],
    'variants = {n: f(n) for n in ["a", "b"] if n}': [],
    "variants = variants": [],
    "X = variants\nvariants = X": [],
    'variants = {"a\\x1b[2J": 1}': [],
    "variants = {": [],
    "\0": [],
    "import os\nos.abort()": [],
}


@pytest.mark.parametrize("code", FILES)
def test_variants_are_read_from_the_text(code):
    assert variants_of(code) == FILES[code]


def test_variants_of_a_file_are_printed_and_nothing_of_other_things(jbatch, tmp_path):
    assert jbatch("completion", "variants", TINY) == (0, "decaying\ngrowing\n", "")
    assert jbatch("completion", "variants", tmp_path / "nowhere.py") == (0, "", "")


def test_options_are_a_verb_s_own_and_those_of_every_experiment():
    assert options_of("runs") == ["--help", "--json"]
    train = options_of("train")
    assert {"--run-dir", "--seed", "--plan.max-batch-size", "--measure-noise"} <= set(train)
    assert not {"--task", "--optimizer.nesterov"} & set(train)
    assert "--seed" not in options_of("compare")
    assert {"--from", "--to", "--held-out"} <= set(options_of("prepare"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(jbatch, tmp_path):
    code, script, _ = jbatch("completion", "bash")
    assert code == 0
    (tmp_path / "jbatch").write_text("#!/bin/sh\nprintf 'plain\\nby $(touch here)\\n'\n")
    (tmp_path / "jbatch").chmod(0o755)

    def completed(*words) -> list[str]:
        lines = (
            script,
            'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))',
            "_jbatch",
            "printf '%s\\n' \"${COMPREPLY[@]}\"",
        )
        command = ("bash", "-c", "\n".join(lines), "bash", tmp_path / "jbatch", *words)
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert ended.stderr == ""
        return ended.stdout.splitlines()

    assert completed("") == [*VERBS, "--help", "--version"]
    assert completed("tr") == ["train"]
    assert completed("train", "it.py", "") == ["plain", r"by\ \$\(touch\ here\)"]
    assert completed("compare", "it.py", "a-b", "p") == ["plain"]
    assert completed("train", "it.py", "plain", "--plan.mom") == ["--plan.momentum"]
    for others in (("train", "i"), ("train", "it.py", "plain", "--run-dir", "p"), ("zzz", "--")):
        assert completed(*others) == [""]  # bash goes on to paths
    assert not (tmp_path / "here").exists()


def test_fish_and_zsh_get_the_same_options(jbatch):
    fish = jbatch("completion", "fish")[1]
    assert "\nruns --help --json\n" in fish
    assert "TABLE" not in fish
    assert jbatch("completion", "zsh") == jbatch("completion", "bash")


@pytest.mark.parametrize("shells", [(), ("tcsh",), ("bash", "fish")])
def test_another_shell_is_a_mistake(jbatch, shells):
    code, out, err = jbatch("completion", *shells)
    assert (code, out) == (2, "")
    assert "give bash, zsh or fish" in err
