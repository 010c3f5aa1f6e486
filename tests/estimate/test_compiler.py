"""Plans compiled for TPUs that are not here, by libtpu where it is installed."""

import json
from importlib.util import find_spec

import pytest

from commands import TINY, end, run, start
from jbatch.errors import Mistake
from jbatch.estimate import client
from jbatch.estimate.worker import Question


def needs(module, extra):
    return pytest.mark.skipif(
        find_spec(module) is None, reason=f"{module} (the extra `{extra}`) is not installed"
    )


needs_libtpu = needs("libtpu", "pod")
needs_plugin = needs("jax_cuda12_plugin", "pod-gpu")


@pytest.mark.parametrize(
    ("on", "missing"),
    [
        ("v5e:2x4", "libtpu, which is not installed: pip install -e '.[pod]'"),
        ("h100:8", "plugin for CUDA, which is not installed: pip install -e '.[pod-gpu]'"),
    ],
)
def test_what_is_missing_is_named(on, missing, monkeypatch):
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    question = Question(str(TINY), "growing", [], False, on, 2**30, "")
    with pytest.raises(Mistake) as raised:
        client.ask(question, print)
    assert missing in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--on", "v7:2x4"), "--on v7:2x4: give one of v4, v5e, v5p, v6e, a100, h100,"),
        (("--price-per-chip-hour", "2"), "--price-per-chip-hour needs --on"),
        (("--on", "v5e:2x4", "--devices", "8"), "--devices 8 and --on v5e:2x4: give only one"),
    ],
)
def test_what_does_not_fit_together_is_said(options, message, jbatch):
    code, out, err = jbatch("plan", TINY, "growing", *options)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


@needs_libtpu
@pytest.mark.slow
def test_a_plan_on_eight_chips(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = ("plan", TINY, "growing", "--on", "v5e:2x4", "--price-per-chip-hour", 2)
    code, out, err = end(start(*command, "--json"))
    assert code == 0, err
    assert "compiling 5 per device for v5e:2x4" in err
    values = json.loads(out)["estimate"]
    assert (values["chips"], values["estimated"]) == (8, True)
    first, second = values["phases"]
    assert (first["per_chip"], second["per_chip"]) == (5, 15)
    parameters, statistics = 64 * 32 + 32 * 10 + 2 * 32 + 10, 2 * 32
    assert first["reduced"] >= 4 * (parameters + statistics + 2)  # and what groups share
    assert second["flops"] > first["flops"] > 2 * 3 * 5 * (64 * 32 + 32 * 10) * 0.6
    assert first["memory"] < 2**30
    assert 0 < second["efficiency"] < 1
    assert values["cost"] == pytest.approx(2 * 8 * values["hours"])
    again, _, err = end(start(*command))
    assert (again, err) == (0, "")  # all of it is known
    assert "Estimated for 8 v5e chips" in run(*command)


@needs_libtpu
@pytest.mark.slow
def test_what_libtpu_does_not_know_is_said(tmp_path):
    for shape in ("9x9", "nonsense", ""):
        code, _, err = end(start("plan", TINY, "growing", "--on", f"v5e:{shape}"))
        assert code == 2
        assert f"libtpu knows no topology v5e:{shape}" in err
        assert "Traceback" not in err


@needs_libtpu
@pytest.mark.slow
def test_a_batch_that_the_chips_cannot_share_is_said():
    code, _, err = end(start("plan", TINY, "growing", "--on", "v5e:4x4"))
    assert code == 2
    assert "16 devices" in err


@needs_plugin
@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["a100", "h100", "h200", "b200"])
def test_a_plan_on_eight_gpus(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, err = end(start("plan", TINY, "growing", "--on", f"{gpu}:8", "--json"))
    assert code == 0, err
    values = json.loads(out)["estimate"]
    assert values["chips"] == 8
    for phase in values["phases"]:
        assert min(phase["flops"], phase["traffic"], phase["memory"]) > 0
        assert phase["reductions"] >= 1


@needs_plugin
@pytest.mark.slow
def test_more_gpus_than_a_node_has_are_refused():
    code, _, err = end(start("plan", TINY, "growing", "--on", "h100:16"))
    assert code == 2
    assert "--on h100:16: give h100:1 to h100:8, the GPUs of a node" in " ".join(err.split())
