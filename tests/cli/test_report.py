"""`jbatch report` and what `compare` reports."""

import json
import os
import re
import shutil

import msgspec
import pytest

from commands import TINY
from jbatch import couple, load_file
from jbatch.plan.saved import plan_bytes


def test_report_of_a_run_is_one_file_that_needs_no_other(trained, jbatch):
    code, out, _ = jbatch("report", trained)
    page = (trained / "report.html").read_text()
    assert code == 0
    assert out.strip() == str(trained / "report.html")
    assert "growing, seed 0" in page
    assert re.search(r"goodput \d+\.\d% of \d+\.\d s: training ", page)
    assert '<a href="./">growing seed 0</a>: finished, 98 of 98 updates' in page
    assert re.search(r"<dt>parameters</dt><dd>2,\d\d\d</dd>", page)
    assert "<script" not in page
    figures = page.count('<svg role="img"')
    # It shows nothing that is elsewhere; it links to what lies beside it.
    outside = re.findall(r"(?<!xlink:)(src|href)=\"(?!data:)([^\"]*)", page)
    assert {name for name, _ in outside} == {"href"}
    assert len(outside) == 1 + 2 * figures == 23
    assert all((trained / path).exists() for _, path in outside)
    assert (trained / "losses.png").read_bytes().startswith(b"\x89PNG")
    for name in ("*.png", "*.svg", "report.html"):
        for path in trained.glob(name):
            path.unlink()


def test_cost_is_shown_at_a_price(trained, tmp_path, jbatch):
    directory = shutil.copytree(trained, tmp_path / "run")
    assert jbatch("report", directory, "--price-per-chip-hour", 2.5)[0] == 0
    assert (directory / "test_accuracy_cost.svg").exists()
    page = (directory / "report.html").read_text()
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    cost = 8 * 2.5 * lines[-1]["seconds"] / 3600  # of eight devices
    [shown] = re.findall(r'data-label="cost">([^<]*)<', page)
    assert float(shown) == pytest.approx(cost, rel=0.01)
    text = (directory / "run.json").read_text()
    (directory / "run.json").write_text(text.replace('"devices": "8', '"devices": "eight'))
    code, _, err = jbatch("report", directory, "--price-per-chip-hour", 2.5)
    assert code == 2
    assert "run.json does not say on how many devices the run began" in err


@pytest.mark.usefixtures("undrawn")
def test_runs_of_older_versions_still_report(trained, tmp_path, jbatch):
    """Their run.json does not say how many parameters they have."""
    directory = shutil.copytree(trained, tmp_path / "run")
    values = json.loads((directory / "run.json").read_text())
    del values["parameters"]
    (directory / "run.json").write_text(json.dumps(values))
    assert jbatch("report", directory)[0] == 0
    page = (directory / "report.html").read_text()
    assert "<dt>parameters" not in page
    assert "<dt>network" in page


@pytest.mark.usefixtures("undrawn")
def test_no_verdict_without_the_stated_baseline(tmp_path, jbatch):
    code, out, _ = jbatch("compare", TINY, "growing", "--seeds", 0, "--out", tmp_path / "out")
    assert code == 0
    assert "40 → 120" in out
    assert "claim" not in out


def with_another_file(trained, directory, *changes):
    """A run, and what its file states after a change: (the run's directory, a later run's)."""
    one = shutil.copytree(trained, directory / "one")
    other = shutil.copytree(trained, directory / "other")
    text = TINY.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = directory / "changed.py"
    file.write_text(text)
    (other / "stated.json").write_bytes(msgspec.json.encode(load_file(file).stated))
    later = (other / "run.json").stat().st_mtime + 10
    os.utime(other / "run.json", (later, later))
    return one, other


@pytest.mark.parametrize(
    "change",
    [
        ("schedule=SCHEDULE", "schedule=lambda e: SCHEDULE(e)/2"),
        ("piecewise_constant_schedule(0.05", "piecewise_constant_schedule(0.06"),
        ("hidden=(32,)", "hidden=(33,)"),
    ],
    ids=["another function", "other values in a function", "another network"],
)
def test_report_of_several_experiments_is_refused(trained, tmp_path, jbatch, change):
    one, _ = with_another_file(trained, tmp_path, change)
    code, _, err = jbatch("report", tmp_path)
    assert code == 2
    assert f"{one} cannot share a report with newer runs here" in err


@pytest.mark.usefixtures("undrawn")
def test_a_report_runs_no_code(trained, tmp_path, jbatch):
    directory = shutil.copytree(trained, tmp_path / "run")
    (directory / "experiment.py").write_text("raise SystemError")
    (directory / "task.pkl").unlink()
    code, _, err = jbatch("report", directory)
    assert code == 0, err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.npz", b"PK"),
        ("plan.npz", None),
        ("stated.json", b"{"),
        ("stated.json", b'{"comparison": {"margin": -1}}'),
    ],
)
def test_a_run_whose_files_are_damaged_is_named(trained, tmp_path, jbatch, name, content):
    directory = shutil.copytree(trained, tmp_path / "run")
    path = directory / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    code, _, err = jbatch("report", directory)
    assert code == 2
    assert str(path) in err
    assert err.count("\n") == 1


def test_the_plan_is_that_of_run_json(trained, tmp_path, jbatch):
    directory = shutil.copytree(trained, tmp_path / "run")
    plan = couple(lambda epoch: 0.1 + 0 * epoch, num_examples=100, num_epochs=1, batch_size=10)
    (directory / "plan.npz").write_bytes(plan_bytes(plan))
    code, _, err = jbatch("report", directory)
    assert code == 2
    assert "plan.npz cannot be read (it is not the plan of run.json)" in err


def test_report_refuses_two_networks_of_one_name(trained, tmp_path, jbatch):
    shutil.copytree(trained, tmp_path / "one")
    other = shutil.copytree(trained, tmp_path / "other")
    values = json.loads((other / "run.json").read_text())
    values["experiment"]["seed"] = 1
    values["experiment"]["task"]["model"]["hidden"] = [8]
    (other / "run.json").write_text(json.dumps(values))
    code, _, err = jbatch("report", tmp_path)
    assert code == 2
    assert (
        "are both called growing, but differ: task.model.hidden is [32] there and [8] here" in err
    )


@pytest.mark.usefixtures("undrawn")
def test_report_takes_the_newest_text_of_one_experiment(trained, tmp_path, jbatch):
    found = ("An experiment small enough for a test", "What was found")
    with_another_file(trained, tmp_path, found, ("margin=5", "margin=6"))
    code, _, err = jbatch("report", tmp_path)
    assert code == 0, err
    assert "What was found" in (tmp_path / "report.html").read_text()
