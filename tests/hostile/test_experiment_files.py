"""Experiment files that fail in any way: one message with the line."""

import json
import re
import sys

import pytest

from hostile.cases import EXPERIMENT_FILES, GOOD
from marks import slow


@pytest.mark.parametrize(("source", "message"), EXPERIMENT_FILES.values(), ids=EXPERIMENT_FILES)
def test_one_message(source, message, tmp_path, jbatch):
    (tmp_path / "it.py").write_bytes(source)
    code, out, err = jbatch("plan", tmp_path / "it.py", "growing")
    assert (code, out) == (2, "")
    assert re.search(message, err), err
    assert err.startswith("jbatch: ")
    assert "Traceback" not in err
    assert len(err) < 1500


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        slow(GOOD.replace("\n", "\r\n").encode()),
        slow(b"# -*- coding: latin-1 -*-\nNAME = '\xe9'\n" + GOOD.encode("latin-1")),
    ],
    ids=["a byte order mark", "CRLF", "a declared encoding"],
)
@pytest.mark.usefixtures("undrawn")
def test_any_python_file_loads_trains_and_is_read_again(source, tmp_path, jbatch):
    (tmp_path / "it.py").write_bytes(source)
    run = tmp_path / "run"
    short = ("--plan.num-epochs", 1, "--plan.batch-sizes", 40, "--plan.max-batch-size", "None")
    code, _, err = jbatch("train", tmp_path / "it.py", "growing", "--run-dir", run, *short)
    assert code == 0, err
    for verb in ("eval", "report"):
        code, _, err = jbatch(verb, run)
        assert code == 0, err


@pytest.mark.usefixtures("undrawn")
def test_what_lies_beside_a_file_is_found_then_and_later(tmp_path, jbatch):
    (tmp_path / "beside_it.py").write_text("WIDTH = 8\n")
    (tmp_path / "width.txt").write_text("8")
    source = (
        "from pathlib import Path\nimport beside_it\n"
        "width = int((Path(__file__).parent / 'width.txt').read_text())\n"
        f"assert width == beside_it.WIDTH\n{GOOD}"
    )
    (tmp_path / "it.py").write_text(source)
    run = tmp_path / "run"
    short = ("--plan.num-epochs", 1, "--plan.batch-sizes", 40, "--plan.max-batch-size", "None")
    try:
        for command in (
            ("train", tmp_path / "it.py", "growing", "--run-dir", run, *short),
            ("eval", run),
            ("report", run),
        ):
            sys.modules.pop("beside_it", None)
            code, _, err = jbatch(*command)
            assert code == 0, err
    finally:
        sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def test_what_a_file_prints_is_not_in_json(tmp_path, jbatch):
    schedule = "def SCHEDULE(epoch):\n    print('looked up')\n    return 0.05 + 0 * epoch\n"
    body = GOOD.partition("SCHEDULE = ")
    rest = body[2].partition("\n")[2]
    (tmp_path / "it.py").write_text(f"print('loaded')\n{body[0]}{schedule}{rest}")
    code, out, err = jbatch("plan", tmp_path / "it.py", "growing", "--json")
    assert code == 0
    assert json.loads(out)["num_examples"] == 1500
    assert "loaded" in err
    assert "looked up" in err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "fifo", "."])
@pytest.mark.parametrize("verb", ["plan", "train", "compare"])
def test_what_is_no_ordinary_file_is_refused_at_once(path, verb, tmp_path, jbatch, monkeypatch):
    import os

    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    code, _, err = jbatch(verb, path, "growing")
    assert code == 2
    assert f"no experiment file {path} (" in err
