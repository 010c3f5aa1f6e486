"""`jbatch runs`."""

import json
import shutil

import jbatch as jb
from jbatch.run.directory import saved_examples
from jbatch.run.metrics import read_metrics
from trained_runs import ONE, TUNED


def test_runs_are_listed_with_state_updates_scores_and_goodput(trained, tmp_path, jbatch):
    for name, kept in (("b/whole", None), ("a/half", 3), ("a/new", 0)):
        directory = shutil.copytree(trained, tmp_path / name)
        lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
        (directory / "metrics.jsonl").write_text("".join(lines[:kept]))
        if kept is not None:
            shutil.rmtree(directory / "checkpoints")
    diverged = shutil.copytree(tmp_path / "a" / "half", tmp_path / "c")
    with (diverged / "metrics.jsonl").open("a") as file:
        last = read_metrics(diverged / "metrics.jsonl")[-1]
        file.write(json.dumps(last | {"kind": "diverged"}) + "\n")
    code, out, err = jbatch("runs", tmp_path)
    assert (code, err) == (0, "")
    header, _, half, new, whole, over = out.splitlines()
    assert header.split() == ["run", "state", "updates", "of", "newest", "evaluation", "goodput"]
    assert half.split()[:4] == ["a/half", "unfinished", "37", "98"]
    assert new.split()[:4] == ["a/new", "unfinished", "0", "98"]
    assert whole.split()[:4] == ["b/whole", "finished", "98", "98"]
    assert "accuracy" in whole
    assert whole.endswith("%")
    assert "accuracy" not in new
    assert over.split()[:3] == ["c", "diverged", "37"]
    _, out, _ = jbatch("runs", tmp_path / "b", "--json")
    [found] = json.loads(out)
    assert (found["state"], found["seed"], found["variant"]) == ("finished", 0, "growing")
    assert 0 < found["scores"]["accuracy"] <= 1


def test_updates_after_the_last_line_count_up_to_the_last_checkpoint(trained, tmp_path, jbatch):
    """As after a stop in the middle of an epoch."""
    directory = shutil.copytree(trained, tmp_path / "run")
    file = directory / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))  # of the first epoch
    shutil.rmtree(directory / "checkpoints" / str(max(saved_examples(directory))))
    row = jbatch("runs", tmp_path)[1].splitlines()[2]
    assert row.split()[:4] == ["run", "unfinished", "86", "98"]


def test_a_run_under_way_trains_now(tmp_path, jbatch):
    seen = []

    def look(line):
        if line["kind"] == "train":
            seen.append(jbatch("runs", tmp_path)[1])

    jb.fit(TUNED, tmp_path / "run", devices=ONE, on=[look])
    assert "trains now" in seen[0]
    assert "finished" in jbatch("runs", tmp_path)[1]


def test_a_damaged_run_is_left_out_and_said(trained, tmp_path, jbatch):
    shutil.copytree(trained, tmp_path / "whole")
    shutil.copytree(trained, tmp_path / "torn")
    (tmp_path / "torn" / "metrics.jsonl").write_text("{}\n")
    code, out, err = jbatch("runs", tmp_path)
    assert code == 0
    assert "torn" not in out
    assert "metrics.jsonl line 1 is damaged" in err
