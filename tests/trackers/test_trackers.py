"""Trackers follow a run, and can neither stop nor slow it."""

import dataclasses
import json
import struct
import sys
import threading
import time

import pytest

import jbatch as jb
from commands import TINY
from jbatch import Mistake
from jbatch.run.metrics import read_metrics
from jbatch.run.tracked import about, send
from jbatch.trackers import sender
from jbatch.trackers.named import tracker, trackers
from jbatch.trackers.sender import Sender
from jbatch.trackers.tensorboard import TensorBoard
from jbatch.trackers.tracker import About
from runs import without_times
from trained_runs import ONE, TUNED, constant

SHORT = dataclasses.replace(TUNED, plan=constant(1))


class Kept:
    """Keeps what it is told; fails in one of its methods, if asked."""

    def __init__(self, fails="", error=ConnectionError):
        self.fails, self.error, self.told = fails, error, []

    def _told(self, name, value):
        self.told.append((name, value))
        if name == self.fails:
            raise self.error("the server is away")

    def begin(self, about):
        self._told("begin", about)

    def line(self, line):
        self._told("line", line)

    def end(self, outcome):
        self._told("end", outcome)


class Hangs(Kept):
    """Does not come back from its second line until the test ends."""

    def __init__(self):
        super().__init__()
        self.released = threading.Event()

    def line(self, line):
        super().line(line)
        if len(self.told) > 2:
            self.released.wait(60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(directory, tracker) of a run that was followed."""
    directory, kept = tmp_path_factory.mktemp("tracked") / "run", Kept()
    jb.fit(SHORT, directory, devices=ONE, log=[kept])
    return directory, kept


def test_a_tracker_is_told_of_every_line_in_order(trained):
    directory, kept = trained
    (_, begun), *lines, end = kept.told
    run = json.loads((directory / "run.json").read_text())
    assert (begun.id, begun.update, end) == (run["id"], 0, ("end", "finished"))
    assert begun.values["plan.batch_size"] == 50
    assert begun.plan == (directory / "plan.txt").read_text()
    assert [line for _, line in lines] == read_metrics(directory / "metrics.jsonl")


def test_a_stopped_run_that_resumes_has_the_same_id(tmp_path):
    class Ended(Exception):
        pass

    def end(line):
        if line["kind"] == "train":
            raise Ended

    first, second = Kept(), Kept()
    with pytest.raises(Ended):
        jb.fit(SHORT, tmp_path / "run", devices=ONE, log=[first], on=[end])
    jb.fit(SHORT, tmp_path / "run", devices=ONE, log=[second])
    assert first.told[-1] == ("end", "failed")
    assert first.told[0][1].id == second.told[0][1].id
    assert second.told[-1] == ("end", "finished")


@pytest.mark.parametrize("fails", ["begin", "line", "end"])
@pytest.mark.parametrize("error", [ConnectionError, SystemExit, KeyboardInterrupt])
def test_a_tracker_that_fails_is_left_out_with_one_warning(tmp_path, fails, error):
    warned, kept = [], Kept(fails, error)
    one = Sender("kept", kept, of_nothing(tmp_path), warned.append)
    for update in range(3):
        one.line({"update": update})
    one.close("finished")
    [warning] = warned
    assert warning.startswith(f"the tracker kept failed ({error.__name__}: the server is away).")
    assert [name for name, _ in kept.told].count(fails) == 1


def test_a_run_goes_on_without_trackers_that_fail_and_hang(tmp_path, trained, monkeypatch, capsys):
    monkeypatch.setattr(sender, "SECONDS_TO_END", 2)
    hangs, fails = Hangs(), Kept("line")
    jb.fit(SHORT, tmp_path / "run", devices=ONE, log=[hangs, fails])
    said = capsys.readouterr().err
    assert without_times(tmp_path / "run") == without_times(trained[0])
    assert said.count("warning: the tracker Kept failed (ConnectionError: the server is away)") == 1
    assert said.count("warning: the tracker Hangs has not taken all lines") == 1
    assert said.count("warning: ") == 2
    # The next run of a comparison does not wait for it again.
    warned, begun = [], time.monotonic()
    again = Sender("Hangs", hangs, of_nothing(tmp_path), warned.append)
    again.line({})
    again.close("finished")
    assert time.monotonic() - begun < 2
    assert "left out" in warned[0]
    hangs.released.set()


def test_a_tracker_that_is_too_slow_is_left_out_and_lines_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(sender, "MOST_WAITING", 5)
    hangs, warned, begun = Hangs(), [], time.monotonic()
    one = Sender("slow", hangs, of_nothing(tmp_path), warned.append)
    for update in range(100):
        one.line({"update": update})
    one.close("finished")
    assert time.monotonic() - begun < 30  # far less than the 60 s that it hangs
    assert len(warned) == 1
    assert "is too slow: 5 lines wait" in warned[0]
    hangs.released.set()


def of_nothing(directory) -> About:
    return About("0" * 32, "it, seed 0", "it", directory, {}, "", 0)


def test_tensorboard_has_every_number_and_the_plan(trained):
    directory, _ = trained
    found = [value for event in stored(directory) for value in event.summary.value]
    tags = [value.tag for value in found]
    lines = read_metrics(directory / "metrics.jsonl")
    for kind in ("train", "eval"):
        losses = [value.simple_value for value in found if value.tag == f"{kind}/loss"]
        assert losses == pytest.approx([line["loss"] for line in lines if line["kind"] == kind])
    [begun] = [value for value in found if value.tag == "_hparams_/session_start_info"]
    assert b"plan.batch_size" in begun.metadata.plugin_data.content
    [plan] = [value for value in found if value.tag.startswith("plan")]
    assert "phase" in plan.tensor.string_val[0].decode()
    assert "_hparams_/session_end_info" in tags


def stored(directory):
    """The events of a run's files."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((directory / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:  # length, its checksum, data, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_all_lines_are_sent_afterwards(trained):
    directory, live = trained
    later = Kept()
    assert send(directory, later) == len(later.told) - 2
    assert later.told == live.told


def test_tensorboard_of_an_exported_run_is_the_same(trained, tmp_path):
    directory, _ = trained
    one = TensorBoard()
    told = about(directory, 0)
    one.begin(About(**{**vars(told), "directory": tmp_path}))
    for line in read_metrics(directory / "metrics.jsonl"):
        one.line(line)
    one.end("finished")
    summaries = [[event.summary for event in stored(each)] for each in (directory, tmp_path)]
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_library_that_is_not_installed_is_a_mistake(name, jbatch, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not
    for arguments in (
        ("train", TINY, "growing", "--run-dir", tmp_path / "run", "--log", name),
        ("compare", TINY, "--out", tmp_path / "runs", "--log", f"{name}:project=x"),
        ("export", tmp_path, "--to", name),
    ):
        if name == "mlflow":
            arguments = [str(each).replace("project=", "experiment=") for each in arguments]
        (tmp_path / "run.json").write_text("{}")
        code, _, err = jbatch(*arguments)
        assert code == 2
        assert f"{name} is not installed: pip install {name}, or leave out that tracker" in err
        assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wand", r"no tracker 'wand'; did you mean wandb\? \(trackers: wandb, mlflow, trackio"),
        ("", "no tracker ''"),
        ("trackio:projct=x", r"'projct=x': give FIELD=VALUE of trackio .*; did you mean project\?"),
        ("trackio:project", "has 'project'"),
        ("trackio:project=", "has 'project='"),
        ("trackio:project=x,project=y", "gives project twice"),
        ("wandb:_run=x", "has '_run=x'"),
    ],
)
def test_a_tracker_that_cannot_be_named(text, message):
    with pytest.raises(Mistake, match=message):
        tracker(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wandb", "log is 'wandb': give a list of trackers"),
        ([print], "which has no begin: give values"),
        ([Kept], "a class and no value"),
    ],
)
def test_what_is_no_tracker_is_a_mistake(given, message):
    with pytest.raises(Mistake, match=message):
        trackers(given)
