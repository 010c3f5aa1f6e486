"""Who may train in a run directory, by which plan, and until when."""

import dataclasses
import fcntl
import json
import math
import os
import re
import shutil
import signal
import time
from contextlib import contextmanager
from functools import partial

import jax
import pytest

from commands import TINY, end, newest, run, start
from jbatch.distributed.preemption import Interrupted, PhaseEnd
from jbatch.errors import Mistake
from jbatch.experiment.described import describe
from jbatch.run import lock as lock_module
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.directory import read_run
from jbatch.run.loop import fit, run_until
from jbatch.run.metrics import read_metrics
from jbatch.run.progress import Lines
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from runs import without_times

GROWING = load_experiment_file(TINY).variant("growing")
ONE = jax.devices()[:1]


def longer(experiment, **changes):
    return dataclasses.replace(experiment, plan=dataclasses.replace(experiment.plan, **changes))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "undisturbed"
    return fit(GROWING, directory, devices=ONE), directory


def test_two_runs_in_one_directory_are_kept_apart(tmp_path):
    with (
        open_run(GROWING, tmp_path / "run", devices=ONE),
        pytest.raises(Mistake, match=r"is in use by process \d+ on .+: wait for it, stop it"),
    ):
        fit(GROWING, tmp_path / "run", devices=ONE)
    fit(GROWING, tmp_path / "run", devices=ONE)  # it is free again


def test_a_lock_file_that_is_removed_lets_nobody_in(tmp_path):
    with open_run(GROWING, tmp_path / "run", devices=ONE) as run:
        (tmp_path / "run" / "lock").unlink()
        with pytest.raises(Mistake, match="is in use by another process, whose lock file was rem"):
            fit(GROWING, tmp_path / "run", devices=ONE)
        run_until(run, run.plan.num_updates)


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "metrics"])
def test_a_directory_that_goes_ends_its_run(tmp_path, how):
    """With a message, and without a file where it was."""
    directory = tmp_path / "run"
    with open_run(GROWING, directory, devices=ONE) as run:
        run_until(run, 40)
        run.checkpoints.wait()
        if how == "metrics":
            (directory / "metrics.jsonl").unlink()
        elif how == "removed":
            shutil.rmtree(directory)
        else:
            directory.rename(tmp_path / "other")
            if how == "replaced":
                directory.mkdir()
        with pytest.raises(Mistake, match="was removed"):
            run_until(run, run.plan.num_updates)
    if how in ("renamed", "replaced"):
        assert fit(GROWING, tmp_path / "other", devices=ONE).taken == 98
        assert not directory.exists() or not list(directory.iterdir())


@contextmanager
def held_elsewhere(directory):
    """The lock, in the name of another machine."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 17 on another\nmachine\n")
        lock.flush()
        yield lock


def test_what_fails_before_the_run_is_open_leaves_nothing(tmp_path, monkeypatch):
    """Also after the claim and the checkpoints' folder are made; a run that was open stays."""

    def feed(*_):
        raise Mistake("no file may be opened any more")

    monkeypatch.setattr("jbatch.data.resident.ResidentData.feed", feed)
    with (
        pytest.raises(Mistake, match="no file may be"),
        open_run(GROWING, tmp_path / "new" / "run", devices=ONE),
    ):
        pass
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    with pytest.raises(Mistake, match="later"), open_run(GROWING, tmp_path / "run", devices=ONE):
        raise Mistake("later")
    assert (tmp_path / "run" / "run.json").exists()


def test_other_code_is_refused_on_another_number_of_devices(tmp_path):
    with open_run(GROWING, tmp_path / "run", devices=ONE):
        pass
    path = tmp_path / "run" / "run.json"
    run = json.loads(path.read_text())
    run["digests"]["program"] = "0" * 64
    run["environment"]["devices"] = "64 × " + run["environment"]["devices"].rpartition(" × ")[2]
    path.write_text(json.dumps(run))
    with (
        pytest.raises(Mistake, match="was trained with other code"),
        open_run(GROWING, tmp_path / "run", devices=ONE),
    ):
        pass


def test_numbers_that_json_has_not_are_described_as_text():
    assert describe({"a": [math.nan, math.inf, 0.5]}) == {"a": ["nan", "inf", 0.5]}


def test_the_lock_of_another_machine_is_waited_for(tmp_path, monkeypatch, capsys):
    """It may have vanished, and a network file system still keep its lock."""
    fit(GROWING, tmp_path, devices=ONE)
    with held_elsewhere(tmp_path) as lock:
        monkeypatch.setattr(lock_module, "LEASE_SECONDS", 0.3)
        with pytest.raises(Mistake, match="is in use by process 17 on another: wait for it"):
            fit(GROWING, tmp_path, devices=ONE)
        assert "up to 0.3 s for the lock of process 17 on another" in capsys.readouterr().err
        monkeypatch.setattr(lock_module, "LEASE_SECONDS", 60)
        on_waiting = [partial(os.kill, os.getpid(), signal.SIGTERM)]
        monkeypatch.setattr(lock_module.agree, "say", lambda _: on_waiting.pop()())
        with pytest.raises(Interrupted, match=r"SIGTERM while waiting .* same command to start"):
            fit(GROWING, tmp_path, devices=ONE)
        on_waiting = [partial(fcntl.flock, lock, fcntl.LOCK_UN)]
        fit(GROWING, tmp_path, devices=ONE)
        assert not on_waiting  # it waited


@pytest.mark.slow
def test_a_second_command_names_the_process_that_trains_and_a_killed_one_holds_nothing(tmp_path):
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run", "--plan.num-epochs", 4000)
    first = start(*command)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    code, _, err = end(start(*command))
    assert (code, f"is in use by process {first.pid} on" in err) == (2, True), err
    first.kill()
    first.communicate()
    again = start(*command)
    while f"process {again.pid} on" not in (tmp_path / "run" / "lock").read_text():
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    again.send_signal(signal.SIGTERM)
    assert end(again)[0] == 75


def test_another_plan_is_refused_with_what_differs_and_taken_if_accepted(tmp_path, capsys):
    directory = tmp_path / "run"
    with pytest.raises(PhaseEnd):
        fit(GROWING, directory, devices=ONE, until_phase=1)
    other = longer(GROWING, num_epochs=5, batch_sizes=(40, 80), max_batch_size=80)
    before = (directory / "run.json").read_bytes(), (directory / "plan.txt").read_bytes()
    with pytest.raises(Mistake) as refused:
        fit(other, directory, devices=ONE)
    said = str(refused.value)
    assert "has another plan:\n\n  plan.num_epochs is 4 there and 5 here" in said
    assert "\n-2        2 – 4        24     120 " in said
    assert "\n+2        2 – 5        54      80 " in said
    assert "or --accept-plan-change to resume with this plan" in said
    assert before == ((directory / "run.json").read_bytes(), (directory / "plan.txt").read_bytes())

    run = fit(other, directory, devices=ONE, progress=Lines(), accept_plan_change=True)
    assert "resumes at update 74" in capsys.readouterr().err
    assert run.plan.num_updates == 128
    lines = read_metrics(directory / "metrics.jsonl")
    assert [line["examples"] for line in lines if line["kind"] == "train"] == [
        *(1500, 3000, 4500, 6000, 7500)
    ]
    assert read_run(directory)["plan_digest"] == run.plan.digest
    with pytest.raises(
        Mistake,
        match=r"seen 7,500 examples, .* ends after 4,500, has no update left: give a longer",
    ):
        fit(longer(other, num_epochs=3), directory, devices=ONE, accept_plan_change=True)
    # The same command goes on, as a launcher gives it again, and without the option too.
    fit(other, directory, devices=ONE, accept_plan_change=True)
    fit(other, directory, devices=ONE)


def test_examples_between_two_updates_of_the_new_plan_are_named(tmp_path, capsys):
    often = dataclasses.replace(GROWING, save_every=0.1)
    with open_run(often, tmp_path / "run", devices=ONE) as run:
        run_until(run, 80)
    other = longer(often, batch_sizes=(40, 80), max_batch_size=80)
    with open_run(other, tmp_path / "run", devices=ONE, accept_plan_change=True) as run:
        assert run.examples == 3640
    said = capsys.readouterr().err
    assert re.search(r"3,600 examples: the run resumes at 3,640 and skips 40\b", said)


def test_more_than_the_plan_is_never_accepted(undisturbed, tmp_path):
    _, directory = undisturbed
    other = dataclasses.replace(longer(GROWING, num_epochs=5), seed=3)
    message = r"holds another run:\n\n[^?]*  seed is 0 there and 3 here\n"
    with pytest.raises(Mistake, match=message):
        fit(other, directory, devices=ONE, accept_plan_change=True)


def test_a_run_until_a_phase_is_the_same_run(undisturbed, tmp_path):
    whole, directory = undisturbed
    for _ in range(2):  # again it stops where it stands
        with pytest.raises(PhaseEnd, match="phase 1 ends at update 74 of 98: saved"):
            fit(GROWING, tmp_path / "run", devices=ONE, until_phase=1)
    resumed = fit(GROWING, tmp_path / "run", devices=ONE)
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)
    for phase in (0, 2):
        with pytest.raises(Mistake, match=f"--until-phase is {phase}, .* 2 phases: give 1, or"):
            fit(GROWING, tmp_path / "run", devices=ONE, until_phase=phase)


@pytest.mark.slow
def test_a_command_until_a_phase_exits_with_3(tmp_path):
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run")
    code, out, err = end(start(*command, "--until-phase", 1))
    assert (code, out) == (3, ""), err
    assert newest(tmp_path / "run")[0] == 74
    run(*command)
    assert newest(tmp_path / "run")[0] == 98


EDGES = (36, 37, 38, 73, 97, 98)  # test_train.py has 74 and 75


@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", EDGES)
def test_resumed_around_every_epoch_and_phase_boundary(undisturbed, tmp_path, stopped_at):
    whole, directory = undisturbed
    with open_run(GROWING, tmp_path / "run", devices=ONE) as begun:
        run_until(begun, stopped_at)
    resumed = fit(GROWING, tmp_path / "run", devices=ONE)
    assert parameters_digest(resumed.state.params) == parameters_digest(whole.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


@pytest.mark.parametrize("platforms", ["cuda,cpu", "tpu"])
def test_a_platform_that_is_missing_is_not_replaced(tmp_path, platforms):
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run")
    code, _, err = end(start(*command, JAX_PLATFORMS=platforms))
    assert code == 2
    assert f"jbatch: JAX_PLATFORMS is {platforms}" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
