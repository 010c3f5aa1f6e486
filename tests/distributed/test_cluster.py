"""Several processes that train as one: real ones, through the command line and Gloo."""

import itertools
import json
import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from commands import FAULTS, TINY, end, end_all, newest, start, start_all
from jbatch.run.metrics import read_metrics
from photographs import write_folder
from processes import children, left_over
from runs import without_times

TRACED, PHOTOGRAPHS = TINY.with_name("traced.py"), TINY.with_name("tiny_photographs.py")
SHORT = ("--plan.num-epochs", 3)  # phases of 40 and of 120
LONG = ("--plan.num-epochs", 400, "--plan.max-batch-size", 40, "--save-every", 3)


def trained(folder, count, *options, devices=8, code=0, **environment):
    """The directory of a traced run, trained by `count` processes."""
    (folder / "trace").mkdir(parents=True, exist_ok=True)
    command = (TRACED, "growing", "--run-dir", folder / "run", *options)
    for outcome, _, err in end_all(
        start_all(count, *command, devices=devices, TRACE=str(folder / "trace"), **environment)
    ):
        assert outcome == code, err
    return folder


def traced(folder) -> Iterator[tuple[int, dict[str, list[int]]]]:
    """(position of a pass, place of a device along the mesh → its examples)"""
    for path in (folder / "trace").iterdir():
        yield from map(json.loads, path.read_text().splitlines())


def examples(folder) -> dict[int, list[int]]:
    """Position of a pass → the examples of all devices in it, in order."""
    passes = {}
    for position, ids in traced(folder):
        passes.setdefault(position, []).extend(itertools.chain(*ids.values()))
    return {position: sorted(ids) for position, ids in passes.items()}


def rows(folder) -> dict[int, set[int]]:
    """Number of a process → the places of its devices along the mesh."""
    found = {}
    for path in (folder / "trace").iterdir():
        for line in path.read_text().splitlines():
            _, ids = json.loads(line)
            found.setdefault(int(path.name.partition("-")[0]), set()).update(map(int, ids))
    return found


def assert_same_run(one, other):
    """The same examples at the same positions; the same metrics."""
    assert examples(one) == examples(other)
    assert_same_metrics(one, other)


def assert_same_metrics(one, other):
    """But for rounding."""
    lines = zip(without_times(one / "run"), without_times(other / "run"), strict=True)
    for mine, theirs in lines:
        # 98 updates, each a sum of 40 to 120 examples in another order: see test_split.
        assert mine.pop("loss") == pytest.approx(theirs.pop("loss"), rel=2e-5)
        # An example in a thousand may be at the margin between two classes.
        assert mine.pop("accuracy") == pytest.approx(theirs.pop("accuracy"), abs=2e-3)
        assert mine == theirs


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone"), 1)


def test_two_processes_are_the_same_run_as_one(tmp_path):
    """Ghost batches of 40 over both."""
    both, one = tmp_path / "both", tmp_path / "one"
    trained(both, 2, *SHORT, devices=2)
    (one / "trace").mkdir(parents=True)
    command = ("train", TRACED, "growing", "--run-dir", one / "run", *SHORT)
    code, _, err = end(start(*command, devices=2, TRACE=str(one / "trace")))
    assert code == 0, err
    assert_same_run(both, one)
    assert sum(map(len, examples(both).values())) == 74 * 40 + 12 * 120


@pytest.mark.slow
def test_two_processes_take_several_updates_a_call(alone, tmp_path):
    assert_same_metrics(trained(tmp_path, 2, "--updates-per-call", "16"), alone)


@pytest.mark.slow
def test_two_processes_share_the_optimizers_state_and_one_goes_on(alone, tmp_path):
    """Each writes and reads its parts of a checkpoint that does not depend on them."""
    trained(tmp_path, 2, "--optimizer-state", "sharded", "--until-phase", 1, code=3)
    trained(tmp_path, 1)
    assert_same_run(tmp_path, alone)


@pytest.mark.slow
def test_four_processes_are_too_and_devices_in_any_order(alone, tmp_path):
    four = trained(tmp_path, 4, PERMUTED="1")
    assert rows(four) == {process: {process, process + 4} for process in range(4)}
    assert_same_run(four, alone)


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_and_processes(tmp_path):
    """The paper's half pod and full pod, twice the devices for twice the batch; then two devices.

    Four devices of one process, then eight of two, then two of one.
    """
    sizes = ("--plan.batch-sizes", 40, 80, "--plan.max-batch-size", 80)
    trained(tmp_path, 1, *sizes, "--until-phase", 1, devices=4, code=3)
    command = (TRACED, "growing", "--run-dir", tmp_path / "run", *sizes)
    again = start_all(2, *command, devices=8, TRACE=str(tmp_path / "trace"))
    while read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["update"] < 92:
        assert again[1].poll() is None, end_all(again)
        time.sleep(0.02)
    again[1].send_signal(signal.SIGTERM)
    assert {code for code, _, _ in end_all(again)} <= {0, 75}
    assert {len(mine) for _, ids in traced(tmp_path) for mine in ids.values()} == {10}
    trained(tmp_path, 1, *sizes, devices=2)
    assert_same_run(tmp_path, trained(tmp_path / "whole", 1, *sizes, devices=8))


@pytest.mark.slow
def test_two_hosts_train_on_streamed_photographs_as_one(tmp_path):
    write_folder(tmp_path / "photographs", 96, 25)
    options = ("--data.source.path", tmp_path / "photographs", "--data.workers", 1)
    lines = {}
    for count in (1, 2):
        directory = tmp_path / f"run{count}"
        command = (PHOTOGRAPHS, "growing", "--run-dir", directory, "--micro-batch", 2, *options)
        for code, _, err in end_all(start_all(count, *command)):
            assert code == 0, err
        lines[count] = without_times(directory)
    for one, two in zip(lines[1], lines[2], strict=True):
        # A ReLU network of 16 units, 45 updates: sums in another order.
        assert one.pop("loss") == pytest.approx(two.pop("loss"), rel=1e-4)
        assert one == two


# ---- stopping and dying -----------------------------------------------------------------------


def saved(directory) -> set[str]:
    return {path.name for path in (directory / "checkpoints").glob("[0-9]*[0-9]")}


def under_way(directory, processes):
    """Wait until processes have saved something, and go on."""
    before = saved(directory)
    while saved(directory) <= before:
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_all_stop_after_the_same_update_when_one_is_asked(tmp_path):
    """By Ctrl-C; SIGTERM is in the test below."""
    directory = tmp_path / "run"
    processes = start_all(2, TINY, "growing", "--run-dir", directory, *LONG)
    under_way(directory, processes)
    processes[1].send_signal(signal.SIGINT)
    outcomes = end_all(processes)
    said = [[text for text in err.splitlines() if "SIGTERM at" in text] for _, _, err in outcomes]
    assert [code for code, _, _ in outcomes] == [75, 75], outcomes
    assert said[0] == said[1]
    assert f"SIGTERM at update {newest(directory)[0]:,} of 14,800: saved" in said[0][0]


@pytest.mark.slow
def test_all_stop_too_when_they_are_asked_during_a_save(tmp_path):
    directory = tmp_path / "run"
    command = (FAULTS, "growing", "--run-dir", directory, *LONG)
    stops = []
    for code, _, err in end_all(start_all(2, *command, FAULT="notice")):
        assert code == 75, err
        stops += re.findall(r"jbatch: SIGTERM at update (\d+) of 14,800: saved", err)
    assert len(stops) == 2
    assert len(set(stops)) == 1
    assert int(stops[0]) < 3000  # the save was after 222


def kill(processes, victim):
    """The other one ends soon, and says what to do."""
    processes[victim].kill()
    killed = time.monotonic()
    code, _, err = end(processes[1 - victim])
    assert code == 75, err
    assert time.monotonic() - killed < 120  # JAX and the watchdog wait for up to 45 s
    assert "estart all processes" in err.splitlines()[-1]
    processes[victim].communicate()  # the one that was watched is gone too


@pytest.mark.slow
def test_killed_and_restarted_processes_end_with_the_same_parameters(tmp_path):
    """Of one device each, as they are usually started on GPUs. Each is killed once."""
    command = (TINY, "growing", "--save-every", 0.2, "--run-dir")
    for code, _, err in end_all(start_all(2, *command, tmp_path / "undisturbed", devices=2)):
        assert code == 0, err
        assert "warning" not in err
    for victim in (0, 1):
        processes = start_all(2, *command, tmp_path / "run", devices=2)
        under_way(tmp_path / "run", processes)
        kill(processes, victim)
    for code, _, err in end_all(start_all(2, *command, tmp_path / "run", devices=2)):
        assert code == 0, err
    assert newest(tmp_path / "run") == newest(tmp_path / "undisturbed")
    assert without_times(tmp_path / "run") == without_times(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_process_that_is_late_is_named(tmp_path):
    command = (FAULTS, "growing", "--run-dir", tmp_path / "run", *SHORT)
    environment = {"FAULT": "late", "SECONDS": "4", "PATIENCE": "60"}
    first, second = end_all(start_all(2, *command, **environment))
    assert (first[0], second[0]) == (0, 0), first[2]
    assert re.search(r"jbatch: waiting for process 1 .*'what is trained' \(\d+ s\)", first[2])
    assert not re.search(r"waiting for process .*'what is trained'", second[2])


@pytest.mark.slow
def test_a_process_that_does_not_come_is_waited_for_so_long(tmp_path):
    command = (FAULTS, "growing", "--run-dir", tmp_path / "run")
    environment = {"FAULT": "late", "SECONDS": "90", "PATIENCE": "3"}
    processes = start_all(2, *command, **environment)
    code, _, err = end(processes[0])
    assert code == 75
    assert re.search(r"process 1 .*'what is trained' within 3\.0 s\. .*restart all processes", err)
    processes[1].kill()
    processes[1].communicate()


DIFFERENT = {
    "pmap": ("--mapping", "pmap", "there are 2: give --mapping shard_map"),
    "experiment": ("--seed", 3, "the experiment differs between processes: "),
    "plan": ("--plan.num-epochs", 5, "the plan differs between processes: "),
    "mistake": ("--plan.batch-sizes", 41, "batch_sizes"),
    "version": ("FAULT", "other version", "the version of optax differs between processes: "),
    "programs": ("FAULT", "other program", "the program of an update differs between processes: "),
    "data": ("FAULT", "other data", "the data differs between processes: "),
}


@pytest.mark.slow
@pytest.mark.parametrize(("option", "value", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_processes_that_would_train_different_things_do_not_begin(tmp_path, option, value, message):
    if option == "FAULT":
        environment, each = {"FAULT": value, "ELSEWHERE": str(tmp_path)}, ()
    else:
        environment, each = {}, ((), (option, value))
    command = (FAULTS, "growing", "--run-dir", tmp_path / "run")
    for code, _, err in end_all(start_all(2, *command, each=each, **environment)):
        assert code == 2, err
        assert message in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_without_a_folder_in_common_do_not_begin(tmp_path):
    each = [("--run-dir", tmp_path / name) for name in ("run", "elsewhere")]
    processes = start_all(2, FAULTS, "growing", each=each, FAULT="files that do not appear")
    for code, _, err in end_all(processes):
        assert code == 2, err
        assert "a --run-dir on a file system that all hosts share" in err


@pytest.mark.slow
def test_a_save_that_fails_on_one_host_fails_on_all_and_the_next_one_works(tmp_path):
    command = (FAULTS, "growing", "--run-dir", tmp_path / "run")
    environment = {"FAULT": "no room for one host's files"}
    for code, _, err in end_all(start_all(2, *command, **environment)):
        assert code == 0, err
        assert re.search(r"warning: .*checkpoint \(File too large\)\. .* update 37\b", err)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["4500", "6000"]


@pytest.mark.slow
def test_a_mistake_on_one_host_is_said_there_and_ends_the_others(tmp_path):
    command = (TINY, "growing", "--run-dir", tmp_path / "run")
    first, second = end_all(start_all(2, *command, each=((), ("--optimizer.nesteroov",))))
    assert (first[0], second[0]) == (75, 2)
    assert (
        "there is no option --optimizer.nesteroov; did you mean --optimizer.nesterov?" in second[2]
    )


@pytest.mark.slow
def test_a_supervisor_that_is_killed_takes_its_trainer_along(tmp_path):
    [process] = start_all(1, TINY, "growing", "--run-dir", tmp_path / "run", *LONG)
    under_way(tmp_path / "run", [process])
    [trainer] = children(process.pid)
    process.kill()
    process.communicate()
    assert left_over({trainer}) == set()


@pytest.mark.slow
def test_a_fault_of_the_program_does_not_ask_to_be_started_again(tmp_path):
    [process] = start_all(1, TINY, "growing", "--run-dir", tmp_path / "run", *LONG)
    under_way(tmp_path / "run", [process])
    [trainer] = children(process.pid)
    os.kill(trainer, signal.SIGSEGV)
    code, _, err = end(process)
    assert code == 128 + signal.SIGSEGV
    assert re.search("SIGSEGV ended the trainer.* run the same command to resume", err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--coordinator", "a:1"), "several processes: give --distributed too"),
        (("--distributed", "--process-id", 0), "--process-id: give --coordinator --num-processes"),
    ],
)
def test_what_is_missing_to_find_the_others_is_said(tmp_path, jbatch, options, message):
    code, _, err = jbatch("train", TINY, "growing", "--run-dir", tmp_path / "run", *options)
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_no_cluster_to_join_is_said(tmp_path):
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run", "--distributed")
    code, _, err = end(start(*command))
    assert code == 2
    assert "cannot join a cluster" in err
    assert not (tmp_path / "run").exists()
