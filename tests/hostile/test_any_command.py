"""Any command line ends within seconds with code 0, 2 or 3, and no traceback."""

import io
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.cases import HUGE, LONG, TINY
from jbatch.cli import VERBS, main
from jbatch.messages import tell

NAMES = [str(TINY), "growing", "decaying", "nowhere", ".", "/dev/null", "", "run", "\x1b[2J", "ä"]
FLAGS = [
    "--plan.num-epochs",
    "--plan.batch-size",
    "--plan.batch-sizes",
    "--plan.max-batch-size",
    "--plan.growth-factor",
    "--plan.ramp",
    "--plan.scaling",
    "--plan.growth",
    "--plan.momentum",
    "--plan.base-batch-size",
    "--plan.adapt-regime",
    "--plan.num-examples",
    "--plan.schedule",
    "--task.model.hidden",
    "--task.model.norm.ghost-batch",
    "--task.model.norm.decay",
    "--optimizer.nesterov",
    "--optimizer.no-nesterov",
    "--optimizer.weight-decay",
    "--task.augment.pad",
    "--task.augment.color",
    "--task.augment.flip",
    "--task.normalize",
    "--task.dtype",
    "--mapping",
    "--seed",
    "--seeds",
    "--out",
    "--run-dir",
    "--micro-batch",
    "--updates-per-call",
    "--device-memory",
    "--log-every",
    "--save-every",
    "--until-phase",
    "--devices",
    "--json",
    "--grid",
    "--trust",
    "--from",
    "--data-dir",
    "--examples",
    "--epsilon",
    "--figure",
    "--help",
    "--nothing",
    "--",
    "-x",
    "---",
]
VALUES = ["0", "1", "-1", "2", "40", "0.5", "1e18", "1e-320", "inf", "nan", "None", "True", "x", ""]
VALUES += [str(HUGE), LONG, "a=1,2", "plan.scaling=0,1", "bfloat16", "pmap", "none", "=", "/proc"]
words = st.one_of(
    st.sampled_from(FLAGS),
    st.sampled_from(VALUES),
    st.builds("{}={}".format, st.sampled_from(FLAGS), st.sampled_from(VALUES)),
)
lines = st.builds(
    lambda verb, names, rest: [verb, *names, *rest],
    # Both take long when they are given what they want; they have tests of their own.
    st.sampled_from([verb for verb in VERBS if verb not in ("bench", "check")]),
    st.one_of(st.just([str(TINY), "growing"]), st.lists(st.sampled_from(NAMES), max_size=3)),
    st.lists(words, max_size=6),
)
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def seconds_of(arguments, capsys):
    """Seconds of a core that a command takes, which must end well."""
    begun = time.process_time()
    try:
        code = main(arguments)
    except SystemExit as exit:  # tyro's own
        code = exit.code
    out, err = capsys.readouterr()
    assert code in (0, 2, 3), (arguments, code, err)
    assert "Traceback" not in err
    assert code == 0 or err or out
    return time.process_time() - begun


def test_from_a_folder_that_was_removed(tmp_path, monkeypatch, jbatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = jbatch("plan", TINY, "growing")
    assert code == 2
    assert err.startswith("jbatch: cannot read the current folder (No such file")


@pytest.mark.parametrize("arguments", [("--plan.batch-size", "\x1b[2J"), ("--nothing\x1b[2J",)])
def test_what_a_message_quotes_commands_nothing(arguments, jbatch):
    code, _, err = jbatch("plan", TINY, "growing", *arguments)
    assert code == 2
    assert "\x1b" not in err
    assert r"\x1b[2J" in err


def test_a_stream_that_a_file_has_closed(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    sys.stderr.close()
    tell("nobody hears it")


@settings(max_examples=40, suppress_health_check=CHECKS)
@given(lines)
def test_any_command_line(capsys, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    seconds_of(arguments, capsys)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=CHECKS)
@given(lines)
def test_five_hundred_command_lines(capsys, monkeypatch, tmp_path, arguments):
    """Each of which takes 5 s of a core at most, but for those that rightly train."""
    monkeypatch.chdir(tmp_path)
    seconds = seconds_of(arguments, capsys)
    assert seconds < 5 or arguments[0] in ("train", "compare", "sweep"), arguments
