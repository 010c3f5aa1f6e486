"""Language models train the same however split or resumed, and evaluate each token once."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from jbatch import GPT, AdamW, Arrays, Coupling, Experiment, LanguageModel, Mistake, Tokens, fit
from jbatch.analysis.split_check import check_experiment
from jbatch.data.batch import Batch
from jbatch.data.stream.tokens import TokenStream
from jbatch.run.build import counted
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.metrics import read_metrics
from jbatch.task.base import means
from runs import without_times

ONE = jax.devices()[:1]
SEQUENCE = 8


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Words at random, one of them with a character of two bytes."""
    words = ["jbätch", "grows", "its", "batches", "while", "the", "rate", "falls"]
    drawn = np.random.default_rng(0).choice(words, 400)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(drawn))
    return path


def experiment(text, model=GPT(layers=1, heads=2, width=16), largest=8) -> Experiment:  # noqa: B008
    return Experiment(
        Coupling(
            optax.cosine_decay_schedule(1e-2, 3000),
            unit="tokens",
            length=3000,
            batch_size=8,
            growth_factor=2,
            max_batch_size=largest,
            momentum=0.9,
        ),
        task=LanguageModel(model),
        data=Tokens(text, sequence=SEQUENCE),
        optimizer=AdamW(b2=0.95),
        micro_batch=8,
        log_every=640,
        eval_every=1500,
        save_every=500,
    )


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    return fit(experiment(text), directory, devices=ONE), directory


def test_the_plan_takes_its_measure_from_the_text(trained, text):
    run, _ = trained
    assert run.plan.measure.sequence_length == SEQUENCE
    assert run.plan.num_examples == int(len(text.read_text()) * 0.9) // SEQUENCE - 1
    end = run.plan.at(len(run.plan) - 1).position + 8
    assert 3000 <= end * SEQUENCE < 3000 + 8 * SEQUENCE


def test_scores(trained, text):
    _, directory = trained
    line = next(reversed(read_metrics(directory / "metrics.jsonl")))
    assert line["kind"] == "eval"
    assert line["perplexity"] == pytest.approx(np.exp(line["loss"]))
    whole = text.read_text()
    test = whole[int(len(whole) * 0.9) :]
    per_byte = len(test) / len(test.encode())
    assert line["bits_per_byte"] == pytest.approx(line["loss"] / np.log(2) * per_byte, rel=1e-5)
    assert line["loss"] < np.log(len(set(whole))) - 0.5  # it has learned


def test_evaluation_is_the_mean_over_all_tokens(trained, text):
    """Eight devices, a ragged window, and a pass that is padded: as by hand, one by one."""
    run, directory = trained
    task, stream = run.job.setup.task, TokenStream(Tokens(text, sequence=SEQUENCE))
    state, loss = jax.device_get(run.state), 0.0
    tokens = stream._corpus.splits["test"].tokens
    predict = jax.jit(task.predict)
    for start in range(0, len(tokens) - 1, SEQUENCE):
        window = tokens[start : start + SEQUENCE + 1]
        padded = np.pad(window, (0, SEQUENCE + 1 - len(window)))
        logits = predict(state.params, state.stats, {"tokens": padded})
        chances = jax.nn.log_softmax(logits)[np.arange(len(window) - 1), window[1:]]
        loss -= float(chances.sum())
    last = next(reversed(read_metrics(directory / "metrics.jsonl")))
    # The loop adds float32 numbers in another order: 1e-6 of them.
    assert last["loss"] == pytest.approx(loss / (len(tokens) - 1), rel=1e-5)
    assert last["num_examples"] == -(-(len(tokens) - 1) // SEQUENCE) > 8


def test_a_resumed_run_ends_with_the_same_bits(trained, text, tmp_path):
    class Ended(Exception):
        pass

    def end(line):
        if line["kind"] == "train" and line["examples"] > 150:
            raise Ended

    run, directory = trained
    with pytest.raises(Ended):
        fit(experiment(text), tmp_path / "run", devices=ONE, on=[end])
    resumed = fit(experiment(text), tmp_path / "run", devices=ONE)
    assert parameters_digest(resumed.state.params) == parameters_digest(run.state.params)
    assert without_times(tmp_path / "run") == without_times(directory)


@pytest.mark.slow
def test_no_split_and_no_resume_changes_it(text):
    model = GPT(1, 2, 16, "rotary", "rms", "swiglu", tied=False, dropout=0.2)
    checked = [*check_experiment(experiment(text, model, 32), jax.devices()[:4])]
    assert len(checked) > 5
    assert not [each for each in checked if not each.passed]


def test_a_validation_text(text, tmp_path):
    other = tmp_path / "validation.txt"
    other.write_text(text.read_text()[:60])
    data = Tokens(text, validation=other, sequence=SEQUENCE)
    fit(replace(experiment(text), data=data), tmp_path / "run", devices=ONE)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert {line["num_examples"] for line in lines if line["kind"] == "eval"} == {8}
    stream = TokenStream(Tokens(text, sequence=SEQUENCE))
    assert {line["num_examples"] for line in lines if line["kind"] == "test"} == {stream.counts[1]}


# ---- other data and networks --------------------------------------------------------------------

WINDOWS = {"tokens": np.random.default_rng(1).integers(0, 7, (64, SEQUENCE + 1))}


class Own(nnx.Module):
    """A network of one's own: the last token's row."""

    def __init__(self, rngs):
        self.rows = nnx.Embed(7, 7, rngs=rngs)

    def __call__(self, tokens):
        return self.rows(tokens)


def fitted(model, examples=WINDOWS, classes=7):
    data = Arrays(examples, examples, num_classes=classes)
    return counted(replace(experiment("none"), data=data, task=LanguageModel(model))), data


def test_an_own_network_on_own_windows():
    from jbatch.data.open import load

    made, data = fitted(Own)
    loaded = load(data)
    task = made.task.fitted(loaded.about)
    params, state = task.init(jax.random.key(0, impl="threefry2x32"), None)
    batch = Batch({"tokens": WINDOWS["tokens"].astype(np.int32)}, None)
    found = means(task.evaluate(params, state, batch, np.ones(64, bool)))
    rows = jax.nn.log_softmax(params["rows"]["embedding"])
    tokens = WINDOWS["tokens"]
    expected = -np.asarray(rows)[tokens[:, :-1], tokens[:, 1:]].mean()
    assert found == {"loss": pytest.approx(expected, rel=1e-5)}  # bytes are not known


@pytest.mark.parametrize(
    ("model", "examples", "classes", "message"),
    [
        (Own, {"tokens": WINDOWS["tokens"] + 1}, 7, "the token 7 is not within the vocabulary"),
        (Own, WINDOWS, None, "the number of different tokens is not known"),
        (Own, {"words": WINDOWS["tokens"]}, 7, "wants examples with 'tokens'"),
        (Own, {"tokens": WINDOWS["tokens"][:, :1]}, 7, "have one token"),
        (Own, WINDOWS, 8, r"return \(8, 8\), without a batch axis"),
        (Own, WINDOWS | {"count": np.full(64, 9)}, 7, "training counts go from 9 to 9: .* 0 to 8"),
    ],
)
def test_what_does_not_fit_is_refused(model, examples, classes, message, tmp_path):
    made, _ = fitted(model, examples, classes)
    with pytest.raises(Mistake, match=message):
        fit(replace(made, plan=replace(made.plan, sequence_length=8)), tmp_path / "run")
