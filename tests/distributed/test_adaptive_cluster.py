"""Several processes decide alike: real ones, through the command line and Gloo."""

import time

import pytest

from commands import TINY, end_all, newest, start_all
from jbatch.run.decisions import read_decisions
from runs import without_times

ADAPTING = TINY.with_name("adapting.py")


def grown(directory) -> list[tuple[int, int]]:
    return [
        (line["examples"], line["next_batch_size"])
        for line in read_decisions(directory)
        if line["next_batch_size"] != line["batch_size"]
    ]


@pytest.mark.slow
def test_two_processes_decide_alike_and_go_on_when_one_is_killed(tmp_path):
    command = (ADAPTING, "noise", "--run-dir")
    alone = tmp_path / "undisturbed"
    for code, _, err in end_all(start_all(2, *command, alone, devices=2)):
        assert code == 0, err
    assert grown(alone)
    processes = start_all(2, *command, tmp_path / "run", devices=2)
    while not grown(tmp_path / "run"):
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    processes[1].kill()
    end_all(processes)
    for code, _, err in end_all(start_all(2, *command, tmp_path / "run", devices=2)):
        assert code == 0, err
    assert grown(tmp_path / "run") == grown(alone)
    assert newest(tmp_path / "run")[1] == newest(alone)[1]
    assert without_times(tmp_path / "run") == without_times(alone)
