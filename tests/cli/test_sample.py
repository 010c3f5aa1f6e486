"""`jbatch prepare text` and `jbatch sample`, and mistakes with texts: one message, exit code 2."""

import json
import re
import time

import jax
import numpy as np
import pytest

import commands
import jbatch as public
from jbatch.prepare.text import prepare_text
from jbatch.run.checkpoint import parameters_digest
from runs import without_times

EXPERIMENT = """
import optax
from jbatch import GPT, AdamW, Coupling, Experiment, LanguageModel, Tokens

plan = Coupling(
    optax.constant_schedule(1e-2), unit="tokens", length=400, batch_size=4, momentum=0.9
)
data = Tokens({data}, sequence=8)
task = LanguageModel(GPT(layers=1, heads=2, width=8))
variants = {{"it": Experiment(plan, task=task, data=data, optimizer=AdamW(), micro_batch=4)}}
"""
TEXT = "so it goes, and so it went: says who? " * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text, what `jbatch prepare text` makes of it, and files that are wrong in some way."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "text.txt").write_text(TEXT)
    (folder / "short.txt").write_text("too short")
    (folder / "empty.txt").write_text("")
    (folder / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (folder / "no.json").write_text("{}")
    np.arange(300, dtype=np.uint16).tofile(folder / "bare.bin")
    (folder / "odd.bin").write_bytes(bytes(301))
    (folder / "empty.bin").write_bytes(b"")
    for name, tokenizer in {"made": "characters", "bytes": "bytes", "cut": "characters"}.items():
        prepare_text(folder / "text.txt", folder / name, tokenizer, 0.2)
    cut = folder / "cut" / "train.bin"
    cut.write_bytes(cut.read_bytes()[:-2])
    prepare_text(folder / "text.txt", folder / "over", "characters", 0.2)
    tokens = np.fromfile(folder / "over" / "train.bin", np.uint16)
    tokens[7] = 1234
    tokens.tofile(folder / "over" / "train.bin")
    prepare_text(folder / "text.txt", folder / "damaged", "characters", 0.2)
    (folder / "damaged" / "tokens.json").write_text('{"tokenizer": 5}')
    return folder


def experiment(folder, data):
    path = folder / "experiment.py"
    path.write_text(EXPERIMENT.format(data=data.replace("@", str(folder))))
    return path


@pytest.fixture(scope="module")
def run(folder):
    directory = folder / "run"
    variants = public.load_file(experiment(folder, '"@/made"')).variants
    public.fit(variants["it"], directory, devices=jax.devices()[:1])
    return directory


MISTAKES = {  # the arguments of Tokens → what the message says
    "tokens over the vocabulary": ('"@/over"', r"the token 1,234 is not within the vocabulary"),
    "a vocabulary too small": ('"@/bare.bin", "@/bare.bin", vocabulary=299', "the token 299 is"),
    "no vocabulary": ('"@/bare.bin", "@/bare.bin"', "no tokens.json beside it.*give vocabulary"),
    "a text shorter than a window": ('"@/short.txt"', "has 8 tokens, but at least 16 are needed"),
    "a test text of one token": ('"@/text.txt", held_out=0.001', "has 1 tokens.*at least 2"),
    "another tokenizer's test text": ('"@/made", "@/bytes/test.bin"', "different tokenizers"),
    "a tokenizer that is not the file's": ('"@/made", tokenizer="bytes"', "another tokenizer than"),
    "a cut file": ('"@/cut"', r"has 607 tokens, but .*tokens.json says 608: it was cut"),
    "odd bytes": ('"@/odd.bin", "@/bare.bin", vocabulary=300', "301 bytes.*no multiple of 2"),
    "an empty text": ('"@/empty.txt"', "empty.txt is empty"),
    "an empty file of tokens": ('"@/empty.bin", "@/bare.bin", vocabulary=9', "empty.bin is empty"),
    "no such file": ('"@/none.txt"', "none.txt cannot be read"),
    "no UTF-8": ('"@/latin.txt"', r"latin.txt is not UTF-8 \(at byte 2\)"),
    "a damaged tokens.json": ('"@/damaged"', "tokens.json is damaged"),
    "text beside tokens": ('"@/text.txt", "@/bare.bin"', "some of .* are .bin files"),
    "no tokenizer file": ('"@/text.txt", tokenizer="@/none.json"', "none.json, which cannot be"),
}


@pytest.mark.parametrize(("data", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_text_that_cannot_be_trained_on_is_refused(folder, data, message, jbatch, tmp_path):
    path = experiment(folder, data)
    code, _, err = jbatch("train", path, "it", "--run-dir", tmp_path / "run")
    assert code == 2
    assert re.search(message, err, re.S)
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_plan_for_other_windows_is_refused(folder, jbatch, tmp_path):
    path = experiment(folder, '"@/made"')
    more = ("--plan.sequence-length", 9, "--run-dir", tmp_path / "run")
    code, _, err = jbatch("train", path, "it", *more)
    assert code == 2
    assert "plan.sequence_length is 9, but a window of the data has 8 tokens" in err


# ---- prepare ------------------------------------------------------------------------------------


def test_prepare_writes_a_folder_that_an_experiment_reads(folder, jbatch, tmp_path):
    to = tmp_path / "new"
    code, out, _ = jbatch("prepare", "text", "--from", folder / "text.txt", "--to", to)
    assert code == 0
    assert f"{to}: 684 train and 76 test tokens, 16 different ones" in out
    assert np.fromfile(to / "train.bin", np.uint16).max() == 15
    said = json.loads((to / "tokens.json").read_text())
    assert said["files"]["test.bin"] == {"tokens": 76, "bytes": 76}
    assert said["tokenizer"]["characters"] == "".join(sorted(set(TEXT)))
    assert not list(tmp_path.glob("*.incomplete"))
    before = (to / "train.bin").read_bytes()
    code, _, err = jbatch("prepare", "text", "--from", folder / "text.txt", "--to", to)
    assert code == 2
    assert "exists: give another folder" in err
    assert (to / "train.bin").read_bytes() == before


def test_prepare_replaces_what_a_killed_one_left(folder, jbatch, tmp_path):
    left = tmp_path / "new.incomplete"
    left.mkdir()
    (left / "train.bin").write_bytes(b"half")
    arguments = ("--from", folder / "text.txt", "--to", tmp_path / "new", "--tokenizer", "bytes")
    code, out, _ = jbatch("prepare", "text", *arguments)
    assert code == 0
    assert "256 different ones" in out
    assert not left.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--from", "@/empty.txt"), "empty.txt is empty"),
        (("--from", "@/none.txt"), "none.txt cannot be read"),
        (("--from", "@/latin.txt"), "is not UTF-8"),
        (("--from", "@/text.txt", "--held-out", 0), "--held-out is 0"),
        (("--from", "@/text.txt", "--held-out", 1e-9), "the test part of .* has 1 tokens"),
    ],
)
def test_prepare_refuses(folder, more, message, jbatch, tmp_path):
    more = [str(each).replace("@", str(folder)) for each in more]
    code, _, err = jbatch("prepare", "text", *more, "--to", tmp_path / "new")
    assert code == 2
    assert re.search(message, err)
    assert not list(tmp_path.iterdir())


# ---- sample -------------------------------------------------------------------------------------


def test_sample_continues_a_prompt(run, jbatch):
    def said(*more):
        code, out, err = jbatch("sample", run, "--prompt", "so it", "--tokens", 30, *more)
        assert code == 0, err
        return out

    first = said()
    assert first.startswith("so it")
    assert len(first) == 5 + 30 + 1
    assert set(first) <= {*TEXT, "\n"}
    assert said() == first
    assert said("--seed", 1) != first
    greedy = said("--temperature", 0)
    assert greedy == said("--top-k", 1) == said("--temperature", 0, "--seed", 3)


def test_each_drawn_token_is_the_networks(run):
    """Greedy tokens are those that `predict` finds likeliest, also beyond the window."""
    model = public.load(run)
    tokenizer = model.learner.task.task.tokenizer
    ids = tokenizer.encode("who").tolist()
    for _ in range(12):
        window = np.zeros((1, 9), np.uint16)
        shown = ids[-8:]
        window[0, : len(shown)] = shown
        ids.append(int(model.predict({"tokens": window})[0, len(shown) - 1].argmax()))
    text = public.sample(model, "who", tokens=12, temperature=0)
    assert tokenizer.decode(ids[3:]) == text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--prompt", "Zebra"), "the character 'Z' is none of the 16 in the training text"),
        (("--prompt", ""), "the prompt is empty"),
        (("--tokens", 0), "--tokens is 0"),
        (("--temperature", -1), "--temperature is -1"),
        (("--top-k", 0), "--top-k is 0"),
        (("--step", "first"), "--step is first"),
    ],
)
def test_sample_refuses(run, more, message, jbatch):
    code, out, err = jbatch("sample", run, *more)
    assert (code, out) == (2, "")
    assert message in err


def test_eval_needs_no_experiment_file(run, jbatch):
    code, out, err = jbatch("eval", run, "--json")
    assert code == 0, err
    assert {"loss", "perplexity", "bits_per_byte"} <= json.loads(out).keys()


# ---- a real kill --------------------------------------------------------------------------------

LONG = ("--plan.length", 8000, "--save-every", 2000, "--eval-every", 4000, "--log-every", 1000)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(folder, tmp_path):
    path = experiment(folder, '"@/made"')
    whole, killed = (("train", path, "it", "--run-dir", tmp_path / n, *LONG) for n in ("a", "b"))
    commands.run(*whole)
    process = commands.start(*killed)
    while process.poll() is None and not [*(tmp_path / "b").glob("checkpoints/[0-9]*[0-9]")]:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode < 0, "it ended before it could be killed"
    commands.run(*killed)
    digests = {
        parameters_digest(public.load(tmp_path / name).train_state.params) for name in ("a", "b")
    }
    assert len(digests) == 1
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")
