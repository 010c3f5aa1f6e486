"""`jbatch sweep`: its grid, its runs, and results against what names say."""

import re
import shutil

import pytest

from commands import TINY
from jbatch.cli import main
from jbatch.errors import Mistake
from jbatch.study.grid import cells


def test_a_grid_is_every_combination_in_order():
    found = list(cells(["plan.adapt-regime=False,True", "task.model.hidden=64 64,8"]))
    assert [" | ".join(names) for names, _ in found] == [
        "plan.adapt-regime False | task.model.hidden 64 64",
        "plan.adapt-regime False | task.model.hidden 8",
        "plan.adapt-regime True | task.model.hidden 64 64",
        "plan.adapt-regime True | task.model.hidden 8",
    ]
    assert found[0][1] == ("--plan.no-adapt-regime", "--task.model.hidden", "64", "64")
    assert found[3][1] == ("--plan.adapt-regime", "--task.model.hidden", "8")
    assert list(cells([])) == [((), ())]


REFUSED = {
    "plan.batch-size": "give FIELD=VALUE",
    "=3": "give FIELD=VALUE",
    "a=1,,2": "give FIELD=VALUE",
    "a-b=1 a_b=2": "give each field once",
}


@pytest.mark.parametrize(("grid", "message"), REFUSED.items())
def test_what_is_no_grid_is_refused(grid, message):
    with pytest.raises(Mistake, match=f"--grid {grid}: {message}"):
        list(cells(grid.split()))


GIVEN = {
    ("--grid", "seed=0"): "--seed is for a single run: give --seeds",
    ("--grid", "plan.momentum=0.5", "--plan.momentum", "0.9"): "in --grid: give it once",
    ("--grid", "optimizer.nesterov=True,False", "--optimizer.no-nesterov"): "--grid: give it once",
    ("--grid", "plan.bach_size=1,2"): "no field plan.bach-size; did you mean plan.batch-size",
    ("--grid", "optimizer=sgd,adam"): "no field optimizer.* edit the file",
    ("--grid", "plan.schedule=1,2"): "no field plan.schedule",
    (): "give --grid FIELD=VALUE,VALUE…, or use jbatch compare",
    ("--grid", "plan.momentum=0.5,5e-1"): "--grid plan.momentum=0.5,5e-1: give each value once",
    ("--grid", "plan.batch-sizes=40 80,40 080"): "40 80,40 080: give each value once",
    ("--grid", "optimizer.nesterov=True,True"): "True,True: give each value once",
    ("--grid", "plan.batch-size=8,x"): "--plan.batch-size is x: give a whole number or None",
    ("--grid", "optimizer.no-nesterov=True"): "no field optimizer.no-nesterov",
    ("--grid", "help=1"): "no field help",
    ("--grid", "a\nb=1"): r"no field a\\nb",
    (
        "--grid",
        "task.model.norm.ghost-batch=40,30",
    ): "ghost-batch 30: batch 40 .* ghost batches of 30",
    ("--grid", "optimizer.nesterov=True", "--plan.momentum", "0"): "nesterov needs momentum",
}


@pytest.mark.parametrize(("arguments", "message"), GIVEN.items())
def test_what_a_sweep_cannot_do_is_refused_before_it_begins(arguments, message, jbatch, tmp_path):
    code, _, err = jbatch("sweep", TINY, "decaying", *arguments, "--out", tmp_path / "x")
    assert code == 2
    assert re.search(message, err)
    assert not (tmp_path / "x").exists()


GRID = ("--grid", "plan.momentum=0.9", "optimizer.weight-decay=0,1e30")


@pytest.mark.slow
def test_a_sweep_trains_its_grid_once_and_goes_on_where_one_diverges(tmp_path, jbatch):
    command = ("sweep", TINY, "decaying", *GRID, "--seeds", 0, "--out", tmp_path)
    code, out, err = jbatch(*command)
    assert code == 0, err
    rows = [line for line in out.splitlines() if line.startswith("decaying")]
    assert re.match(r"schedule +plan\.momentum +optimizer\.weight-decay +test accuracy", out)
    assert [row.split()[:3] for row in rows] == [["decaying", "0.9", "0"]]
    assert "Diverged: decaying, plan.momentum 0.9, optimizer.weight-decay 1e30 seed 0 (by " in out
    assert (
        "2 of 2: decaying, plan.momentum 0.9, optimizer.weight-decay 1e30 seed 0: diverged" in err
    )
    run = tmp_path / "decaying" / "plan.momentum-0.9" / "optimizer.weight-decay-0" / "seed-0"
    assert '"momentum": 0.9' in (run / "run.json").read_text()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed-0/**/*")}
    code, again, _ = jbatch(*command)
    assert (
        again.split("in total")[0].rsplit("\n", 1)[0] == out.split("in total")[0].rsplit("\n", 1)[0]
    )
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed-0/**/*")}
    # What was finished is not trained again, with its checkpoints removed to save room either.
    shutil.rmtree(run / "checkpoints")
    code, third, _ = jbatch(*command)
    assert (
        third.split("in total")[0].rsplit("\n", 1)[0] == out.split("in total")[0].rsplit("\n", 1)[0]
    )
    # As a report of what lies there, too.
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "decaying, plan.momentum 0.9, optimizer.weight-decay 0" in page
    assert "Diverged: decaying" in page


@pytest.mark.slow
def test_results_are_drawn_against_the_grids_last_field(tmp_path, jbatch):
    grid = ("--grid", "plan.momentum=0.5,0.9")
    code, _, err = jbatch("sweep", TINY, "decaying", *grid, "--seeds", 0, "--out", tmp_path)
    assert code == 0, err
    page = (tmp_path / "report.html").read_text()
    assert "Test error at the end against momentum." in page
    assert (tmp_path / "against_test_error.png").stat().st_size > 10_000
    part = ("--grid", "plan.momentum=0.9")
    code, out, _ = jbatch("sweep", TINY, "decaying", *part, "--seeds", 0, "--out", tmp_path)
    assert code == 0
    assert f"Not shown: 1 other runs there; `jbatch report {tmp_path}` shows" in out


def test_every_cell_is_looked_at_before_the_first_is_trained(tmp_path, jbatch):
    command = (
        "sweep",
        TINY,
        "decaying",
        "--grid",
        "plan.momentum=0.5,1.5",
        "--out",
        tmp_path / "x",
    )
    code, _, err = jbatch(*command)
    assert code == 2
    assert "decaying, plan.momentum 1.5: momentum is 1.5" in err
    assert not (tmp_path / "x").exists()
