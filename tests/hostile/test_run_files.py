"""A run directory's files of any content: one message, and nothing is changed."""

import json
import os
import shutil

import jax
import pytest

from hostile.cases import ANYTHING, METRICS, METRICS_LINES, TINY
from jbatch.printable import printable
from marks import slow
from photographs import write_folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from jbatch.cli import main

    directory = tmp_path_factory.mktemp("hostile") / "run"
    short = ["--plan.num-epochs", "1", "--plan.batch-sizes", "40", "--plan.max-batch-size", "None"]
    assert main(["train", str(TINY), "growing", "--run-dir", str(directory), *short]) == 0
    return directory, short


def contents(directory):
    return {
        path: path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def refused(jbatch, directory, short, verb):
    """What a verb says, once, of a directory in which it changes nothing."""
    before = contents(directory)
    command = [verb, directory]
    if verb == "train":
        command = ["train", TINY, "growing", "--run-dir", directory, *short]
    code, _, err = jbatch(*command)
    assert code == 2, err
    assert "Traceback" not in err
    assert err.count("jbatch: ") == 1
    assert len(err) < 2000
    assert contents(directory) == before
    return err


@pytest.mark.parametrize("content", ANYTHING.values(), ids=ANYTHING)
@pytest.mark.parametrize("verb", ["train", "eval", "report"])
def test_run_json(content, verb, trained, tmp_path, jbatch):
    directory = shutil.copytree(trained[0], tmp_path / "run")
    (directory / "run.json").write_bytes(content)
    assert "run.json is damaged (" in refused(jbatch, directory, trained[1], verb)


@pytest.mark.parametrize("name", [*ANYTHING, *METRICS_LINES])
def test_metrics(name, trained, tmp_path, jbatch):
    directory = shutil.copytree(trained[0], tmp_path / "run")
    line = METRICS % METRICS_LINES[name] if name in METRICS_LINES else ANYTHING[name] + b"\n"
    if not line.strip():
        line = b"\n"
    (directory / "metrics.jsonl").write_bytes(line)
    said = refused(jbatch, directory, trained[1], "report")
    assert "metrics.jsonl line 1 is damaged (" in said


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "plan.npz", "stated.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "a link to nothing"])
def test_what_is_no_ordinary_file(name, kind, trained, tmp_path, jbatch):
    directory = shutil.copytree(trained[0], tmp_path / "run")
    path = directory / name
    path.unlink()
    make = {
        "fifo": os.mkfifo,
        "folder": os.mkdir,
        "device": lambda path: os.symlink("/dev/zero", path),
        "a link to nothing": lambda path: os.symlink("/nowhere", path),
    }
    make[kind](path)
    said = refused(jbatch, directory, trained[1], "report")
    assert name in said or "holds no run" in said


@pytest.mark.parametrize("content", [None, *map(slow, ANYTHING.values())])
@pytest.mark.usefixtures("undrawn")
def test_what_is_no_loss_is_made_again(content, trained, tmp_path, jbatch):
    """Or of another kind: a micro-batch of no examples, on the same devices."""
    directory = shutil.copytree(trained[0], tmp_path / "run")
    kept = json.loads((directory / "micro_batch.json").read_text())
    content = content or json.dumps(kept | {"limit": -1}).encode()
    for name in ("goodput.jsonl", "micro_batch.json"):
        (directory / name).write_bytes(content)
    short = trained[1]
    assert jbatch("train", TINY, "growing", "--run-dir", directory, *short)[0] == 0
    assert json.loads((directory / "micro_batch.json").read_text()) == kept
    assert jbatch("report", directory)[0] == 0


ODD = "\x1b[31mred\x1b]0;title\x07\u202egnp.exe\0</script><b>"


def test_fields_that_are_not_known_are_said_once(trained, tmp_path, jbatch):
    directory = shutil.copytree(trained[0], tmp_path / "run")
    run = json.loads((directory / "run.json").read_text())
    run["origin"]["overrides"] = ["--nothing", "3"]
    (directory / "run.json").write_text(json.dumps(run))
    code, out, err = jbatch("eval", directory, "--trust")
    assert (code, out) == (2, "")
    assert err.startswith("jbatch: ")
    assert "run.json has overrides that do not fit" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("undrawn")
def test_what_files_say_is_shown_and_commands_nothing(trained, tmp_path, jbatch):
    directory = shutil.copytree(trained[0], tmp_path / "run")
    run = json.loads((directory / "run.json").read_text())
    run["environment"] |= {"devices": ODD, ODD: ODD}
    (directory / "run.json").write_text(json.dumps(run))
    lines = (directory / "goodput.jsonl").read_text().splitlines()
    line = json.loads(lines[-1])
    line["seconds"][ODD] = 5.0
    (directory / "goodput.jsonl").write_text("\n".join([*lines, json.dumps(line), ""]))
    code, out, err = jbatch("report", directory)
    assert code == 0, err
    page = (directory / "report.html").read_text()
    code, shown, said = jbatch("train", TINY, "growing", "--run-dir", directory, *trained[1])
    assert code == 0
    for text in (out, err, page, shown, said):
        assert not {"\x1b", "\x07", "\u202e", "\0"} & set(text)
    assert "\\x1b[31mred" in said
    assert "<b>" not in page


@pytest.mark.usefixtures("undrawn")
def test_a_bad_run_is_left_out_of_a_report_and_named(trained, tmp_path, jbatch):
    shutil.copytree(trained[0], tmp_path / "runs" / "good")
    bad = shutil.copytree(trained[0], tmp_path / "runs" / "bad")
    (bad / "run.json").write_text("[]")
    code, _, err = jbatch("report", tmp_path / "runs")
    assert code == 0
    assert "warning: left out: " in err
    assert "bad/run.json is damaged" in err


@pytest.mark.parametrize("name", ["checkpoints", "damaged", "tensorboard", "profile"])
def test_links_lead_to_no_other_run(name, trained, tmp_path, jbatch):
    other = shutil.copytree(trained[0], tmp_path / "other")
    directory = shutil.copytree(trained[0], tmp_path / "run")
    shutil.rmtree(directory / name, ignore_errors=True)
    (other / name).mkdir(exist_ok=True)
    (directory / name).symlink_to(other / name)
    before = contents(other)
    command = ("train", TINY, "growing", "--run-dir", directory, *trained[1])
    code, _, err = jbatch(*command)
    assert code == 2
    assert f"{name} is a link" in err
    assert contents(other) == before


def test_any_folder_trains_and_goes_on(tmp_path, jbatch):
    directory = tmp_path / "lr[0.1] batch*" / "what?{a,b}"
    directory.parent.mkdir()
    command = ("train", TINY, "growing", "--run-dir", directory)
    assert jbatch(*command, "--until-phase", 1)[0] == 3
    code, _, err = jbatch(*command)
    assert code == 0, err
    assert "resumes at update 74" in err
    code, out, _ = jbatch("eval", directory)
    assert (code, out.startswith("after 98 updates")) == (0, True)


@pytest.mark.parametrize("newest", ["empty", "foreign"])
def test_an_empty_newest_checkpoint_is_gone_past(newest, tmp_path, jbatch):
    directory = tmp_path / "run"
    command = ("train", TINY, "growing", "--run-dir", directory)
    assert jbatch(*command)[0] == 0
    if newest == "empty":
        for path in (directory / "checkpoints" / "6000").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        (directory / "checkpoints" / "9000").mkdir()
    code, _, err = jbatch(*command)
    assert code == 0, err
    number = {"empty": "6,000", "foreign": "9,000"}[newest]
    assert f"the checkpoint of {number} examples is damaged (it holds no state)" in err


@pytest.mark.parametrize("what", ["renamed", "another run's"])
def test_a_checkpoint_is_of_its_run_and_its_name(what, tmp_path, jbatch):
    run, other = tmp_path / "run", tmp_path / "other"
    command = ("train", TINY, "growing", "--run-dir")
    assert jbatch(*command, run)[0] == 0
    folder = run / "checkpoints"
    if what == "renamed":
        (folder / "6000").rename(folder / "9000")
    else:
        assert jbatch(*command, other, "--seed", 5)[0] == 0
        shutil.rmtree(folder / "6000")
        shutil.copytree(other / "checkpoints" / "6000", folder / "6000")
    code, _, err = jbatch(*command, run)
    assert code == 0
    assert "is damaged (it is of another run, or its name is not" in err
    assert "resumes at update 86" in err


def test_other_data_or_code_is_another_run(trained, tmp_path, jbatch, monkeypatch):
    from jbatch.data.sources import Digits

    directory, short = trained
    command = ("train", TINY, "growing", "--run-dir", directory, *short)
    load = Digits.load

    def inverted(self):
        dataset = load(self)
        return dataset._replace(train=dataset.train | {"image": 16 - dataset.train["image"]})

    with monkeypatch.context() as patch:
        patch.setattr(Digits, "load", inverted)
        for each in (command, ("eval", directory)):
            code, _, err = jbatch(*each)
            assert code == 2
            assert "dataset differs from the one that" in err
    run = json.loads((directory / "run.json").read_text())
    run["digests"]["program"] = "0" * 64
    changed = shutil.copytree(directory, tmp_path / "run")
    (changed / "run.json").write_text(json.dumps(run))
    code, _, err = jbatch(*command[:4], changed, *short)
    assert code == 2
    assert "was trained with other code" in err
    run["environment"]["jax"] = "0.0"  # under other versions the text is another anyway
    (changed / "run.json").write_text(json.dumps(run))
    code, _, err = jbatch(*command[:4], changed, *short)
    assert code == 0
    assert "(jax 0.0 there" in err


def test_updates_are_counted_through_a_change_of_plan(tmp_path, jbatch):
    command = ("train", TINY, "decaying", "--run-dir", tmp_path / "run")
    larger = ("--plan.batch-size", 120, "--plan.batch-sizes", 120, "--plan.max-batch-size", "None")
    assert jbatch(*command, "--plan.num-epochs", 2)[0] == 0
    assert jbatch(*command, *larger, "--accept-plan-change")[0] == 0
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = list(map(json.loads, text.splitlines()))
    counts = [(line["update"], line["examples"]) for line in lines if line["kind"] == "train"]
    # 37 of 40 examples in each of two epochs, then 12 of 120.
    assert counts == [(37, 1500), (74, 3000), (86, 4500), (98, 6000)]
    _, out, _ = jbatch("eval", tmp_path / "run", "--json")
    assert json.loads(out)["update"] == 98


def test_only_what_is_left_is_compiled(tmp_path, jbatch, monkeypatch):
    from jbatch.step import aot
    from small_runs import all_compiled

    made, program = [], aot._program
    monkeypatch.setattr(
        aot, "_program", lambda *a: made.append(a[1].layouts[0].size) or program(*a)
    )
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run")
    assert jbatch(*command, "--until-phase", 1)[0] == 3
    assert made[0] == 40
    all_compiled()
    made.clear()
    assert jbatch(*command)[0] == 0
    assert made == [120]
    assert jbatch(*command)[0] == 0  # finished
    assert made == [120]


@pytest.mark.slow
def test_streamed_data_that_change_are_other_data(tmp_path, jbatch):
    write_folder(tmp_path / "data", 96, 16)
    where = ("--data.source.path", tmp_path / "data", "--data.workers", 0)
    command = ("train", TINY.with_name("tiny_photographs.py"), "growing", *where)
    command += ("--run-dir", tmp_path / "run")
    assert jbatch(*command, "--until-phase", 1)[0] == 3
    for split in ("train", "val"):
        (tmp_path / "data" / split / "bird").rename(tmp_path / "data" / split / "zebra")
    for each in (command, ("eval", tmp_path / "run")):
        code, _, err = jbatch(*each)
        assert code == 2
        assert "dataset differs from the one that" in err


def test_a_changed_network_is_other_code(trained, jbatch, monkeypatch):
    from flax import nnx

    from jbatch.step import programs

    programs.identity.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(nnx, "relu", nnx.gelu)
            command = ("train", TINY, "growing", "--run-dir", trained[0], *trained[1])
            code, _, err = jbatch(*command)
    finally:
        programs.identity.cache_clear()
    assert code == 2
    assert "was trained with other code" in err


def test_an_evaluation_that_meets_a_trainer_tries_what_is_there_by_now(tmp_path, monkeypatch):
    from jbatch.run.checkpoint import Checkpoints

    state = {"leaf": jax.numpy.arange(3)}
    writer = Checkpoints(tmp_path / "checkpoints", print)
    for step in (1, 2):
        writer.save(step, state)
        writer.wait()
    reader = Checkpoints(tmp_path / "checkpoints", print, read_only=True)
    for step in (3, 4):
        writer.save(step, state)
        writer.wait()
    assert reader.restore(state).examples == 4
    for each in (reader, writer):
        each.close()


def test_printable():
    assert printable("ä – 中\n") == "ä – 中\n"
    assert printable("a\nb", "") == "a\\nb"
    assert printable("\x1b\u202e\ud800\u2028") == "\\x1b\\u202e\\ud800\\u2028"
