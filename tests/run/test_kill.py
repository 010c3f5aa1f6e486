"""Runs that die, and go on as if they had not: real processes, real signals."""

import random
import signal
import time

import pytest

from commands import FAULTS, TINY, end, newest, run, start
from runs import without_times

# A second or two of updates, with a checkpoint every tenth of one.
LONG = ("--plan.num-epochs", 90, "--plan.batch-size", 20, "--plan.batch-sizes", 20, 60, 120)
LONG += ("--plan.max-batch-size", 120, "--task.model.norm.ghost-batch", 20, "--save-every", 7)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    run("train", TINY, "growing", "--run-dir", directory, *LONG)
    return directory


def under_way(directory, seconds, process):
    """Wait until training goes on, and then so long; False if it ended meanwhile."""
    before = len(without_times(directory)) if (directory / "metrics.jsonl").exists() else 0
    while process.poll() is None:
        if (directory / "metrics.jsonl").exists() and len(without_times(directory)) > before:
            break
        time.sleep(0.01)
    time.sleep(seconds)
    return process.poll() is None


def kill_and_resume(directory, undisturbed, starting, training):
    """Kill so many seconds after a process's start, then after training goes on; finish."""
    command = ("train", FAULTS, "growing", "--run-dir", directory, *LONG)
    for moment in starting:
        process = start(*command)
        time.sleep(moment)
        process.kill()
        process.communicate()
    for moment in training:
        process = start(*command, FAULT="held", CALL="60")  # of about 200: it does not end before
        assert under_way(directory, moment, process)
        process.kill()
        process.communicate()
    run(*command)
    assert newest(directory) == newest(undisturbed)
    assert without_times(directory) == without_times(undisturbed)


def test_a_killed_run_ends_with_the_same_parameters(undisturbed, tmp_path):
    kill_and_resume(tmp_path / "run", undisturbed, [], [random.Random(17).uniform(0, 0.5)])


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_parameters(undisturbed, tmp_path):
    draw = random.Random(0).uniform
    starting, training = [draw(0.3, 2)], [draw(0, 0.6) for _ in range(3)]
    kill_and_resume(tmp_path / "run", undisturbed, starting, training)


@pytest.mark.slow
def test_a_run_asked_to_stop_saves_and_exits_with_75(undisturbed, tmp_path):
    """By SIGTERM; hostile/test_stops.py has the other signals."""
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run", *LONG)
    process = start(*command)
    assert under_way(tmp_path / "run", 0.1, process)
    process.send_signal(signal.SIGTERM)
    code, out, err = end(process)
    assert code == 75, err
    assert out == ""
    assert "SIGTERM at update" in err
    assert "Traceback" not in err
    assert f"at update {newest(tmp_path / 'run')[0]:,} of" in err
    run(*command)
    assert newest(tmp_path / "run") == newest(undisturbed)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    run("train", FAULTS, "growing", "--run-dir", directory)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    ["save", "update", "phase change", "evaluation", "log"],
)
def test_a_run_killed_at_just_this_moment_ends_with_the_same_parameters(short, tmp_path, moment):
    directory = tmp_path / "run"
    command = ("train", FAULTS, "growing", "--run-dir", directory)
    code, _, _ = end(start(*command, FAULT=moment))
    assert code == -signal.SIGKILL
    unfinished = [path.name for path in (directory / "checkpoints").glob("*-tmp*")]
    assert unfinished or moment != "save"
    code, _, err = end(start(*command))
    assert code == 0, err
    assert ("is incomplete: ignored" in err) == bool(unfinished)
    assert newest(directory) == newest(short)
    assert without_times(directory) == without_times(short)
