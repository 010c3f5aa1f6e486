"""`jbatch report` and what `compare` reports."""

import json
import os
import re
import shutil

from commands import TINY


def test_report_of_a_run_is_one_file_that_needs_no_other(trained, jbatch):
    code, out, _ = jbatch("report", trained)
    page = (trained / "report.html").read_text()
    assert code == 0
    assert out.strip() == str(trained / "report.html")
    assert "growing, seed 0" in page
    assert re.search(r"growing seed 0: goodput \d+\.\d% of \d+\.\d s: training ", page)
    assert page.count("data:image/svg+xml;base64,") == 8
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for name in ("batch_size", "learning_rate", "test_accuracy_updates", "updates"):
        assert (trained / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in ("*.png", "report.html"):
        for path in trained.glob(name):
            path.unlink()


def test_no_verdict_without_the_stated_baseline(tmp_path, jbatch):
    code, out, _ = jbatch("compare", TINY, "growing", "--seeds", 0, "--out", tmp_path / "out")
    assert code == 0
    assert "40 → 120" in out
    assert "claim" not in out


def with_another_file(trained, directory, *changes):
    """A run, and a later copy of it whose experiment file was changed."""
    shutil.copytree(trained, directory / "one")
    other = shutil.copytree(trained, directory / "other")
    text = (other / "experiment.py").read_text()
    for old, new in changes:
        text = text.replace(old, new)
    (other / "experiment.py").write_text(text)
    later = (other / "run.json").stat().st_mtime + 10
    os.utime(other / "run.json", (later, later))


def test_report_of_several_experiments_is_refused(trained, tmp_path, jbatch):
    with_another_file(trained, tmp_path, ("schedule=SCHEDULE", "schedule=lambda e: SCHEDULE(e)/2"))
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 2
    assert "several experiment files" in err
    assert f"does not describe {tmp_path / 'one'}" in err


def changed_copy(trained, directory, *overrides):
    """A run, as if it had been made with other fields."""
    shutil.copytree(trained, directory)
    values = json.loads((directory / "run.json").read_text())
    values["origin"]["overrides"] = list(overrides)
    (directory / "run.json").write_text(json.dumps(values))


def test_a_run_whose_fields_are_gone_is_left_out_of_a_report(trained, tmp_path, jbatch):
    changed_copy(trained, tmp_path / "other", "--task.model.hidden", "8")
    shutil.copytree(trained, tmp_path / "one")
    for name in ("one", "other"):
        file = tmp_path / name / "experiment.py"
        file.write_text(file.read_text().replace("MLP(hidden=(32,),", "SmallCNN((8,),"))
        file.write_text(file.read_text().replace("    MLP,\n", "    SmallCNN,\n"))
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 0, err
    assert "warning: the report leaves out a run" in err
    assert "run.json has overrides that do not fit its experiment: --task.model.hidden 8" in err


def test_report_refuses_two_networks_of_one_name(trained, tmp_path, jbatch):
    shutil.copytree(trained, tmp_path / "one")
    changed_copy(trained, tmp_path / "other", "--seed", "1", "--task.model.hidden", "8")
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 2
    assert (
        "are both called growing, but differ: task.model.hidden is [32] there and [8] here" in err
    )


def test_report_takes_the_newest_text_of_one_experiment(trained, tmp_path, jbatch):
    found = ("An experiment small enough for a test", "What was found")
    with_another_file(trained, tmp_path, found, ("margin=5", "margin=6"))
    code, _, err = jbatch("report", tmp_path, "--trust")
    assert code == 0, err
    assert "What was found" in (tmp_path / "report.html").read_text()
