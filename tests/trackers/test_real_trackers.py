"""The three libraries themselves, offline; left out where one is not installed."""

import dataclasses
import os
from importlib.util import find_spec

import pytest

if not any(find_spec(name) for name in ("wandb", "mlflow", "trackio")):
    pytest.skip("no tracker's library is installed", allow_module_level=True)

import jbatch as jb
from commands import TINY, end, start
from jbatch.run.metrics import read_metrics
from jbatch.run.tracked import about, send
from trained_runs import ONE, TUNED, constant

# Their own deprecations, and files that they leave open, are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(directory, lines) of a finished run."""
    directory = tmp_path_factory.mktemp("real") / "run"
    jb.fit(dataclasses.replace(TUNED, plan=constant(2)), directory, devices=ONE)
    return directory, read_metrics(directory / "metrics.jsonl")


def follow_again(tracker, directory, lines):
    """Follow a run that is killed twice, and exported at its end.

    At the second start it writes a line again, and at the third one was lost before it was sent.
    """
    told = about(directory, 0)
    for first, last in ((0, 3), (1, 2), (4, len(lines))):
        tracker.begin(dataclasses.replace(told, earlier=lines[:first]))
        for line in lines[first:last]:
            tracker.line(line)
        tracker.end("stopped")
    tracker.begin(told)
    tracker.end("finished")
    send(directory, tracker)


def losses(lines, kind):
    return [(line["update"], line["loss"]) for line in lines if line["kind"] == kind]


def test_trackio_has_every_line_once(run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("trackio")
    from trackio import sqlite_storage, utils

    for module in (utils, sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path)
    directory, lines = run
    follow_again(jb.Trackio(project="tests"), directory, lines)
    stored = sqlite_storage.SQLiteStorage
    [record] = stored.get_run_records("tests")
    assert record["name"] == f"run, seed 5 {about(directory, 0).id[:6]}"
    found = stored.get_logs("tests", record["name"])
    for kind in ("train", "eval"):
        key = f"{kind}/loss"
        assert [(each["step"], each[key]) for each in found if key in each] == losses(lines, kind)
    config = stored.get_run_config("tests", record["name"])
    assert config["plan.batch_size"] == 50
    assert capsys.readouterr().out == ""


def test_mlflow_has_every_line_once(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    directory, lines = run
    uri = f"sqlite:///{tmp_path}/store.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("tests", artifact_location=(tmp_path / "of").as_uri())
    follow_again(jb.MLflow(experiment="tests", uri=uri), directory, lines)
    [found] = client.search_runs([experiment])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run, seed 5")
    assert found.data.params["plan.batch_size"] == "50"
    for kind in ("train", "eval"):
        history = client.get_metric_history(found.info.run_id, f"{kind}/loss")
        assert [(each.step, each.value) for each in history] == losses(lines, kind)
    [plan] = (tmp_path / "of").rglob("plan.txt")
    assert plan.read_text() == (directory / "plan.txt").read_text()


def test_wandb_has_every_line_in_its_offline_folder(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    directory, lines = run
    tracker, told = jb.WandB(project="tests"), about(directory, 0)
    for outcome, told_now in (("stopped", lines[:3]), ("finished", lines[3:])):
        tracker.begin(told)
        for line in told_now:
            tracker.line(line)
        tracker.end(outcome)
    found = sorted(tmp_path.glob(f"wandb/offline-run-*-{told.id}/run-{told.id}.wandb"))
    assert 1 <= len(found) <= 2  # their names hold a second
    content = b"".join(path.read_bytes() for path in found)
    assert b"plan.batch_size" in content
    for line in lines:
        assert str(line["loss"]).encode() in content
    assert not os.path.exists("wandb")


def test_a_command_leaves_no_temporary_folder_of_wandb(tmp_path):
    pytest.importorskip("wandb")
    short = ("--plan.num-epochs", 1, "--plan.max-batch-size", 40, "--log", "wandb")
    process = start(
        *("train", TINY, "growing", "--run-dir", tmp_path / "run", *short),
        WANDB_MODE="offline",
        TMPDIR=str(tmp_path),
    )
    code, _, err = end(process)
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_wandb_without_a_login_says_what_to_do(run, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads the environment once
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    with pytest.raises(jb.Mistake, match="run `wandb login`, or set WANDB_MODE=offline"):
        jb.WandB().begin(about(run[0], 0))
    wandb.teardown()
