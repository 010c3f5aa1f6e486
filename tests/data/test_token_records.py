"""Windows of tokens as records of ArrayRecord files; and how often a text is encoded."""

import jax
import numpy as np
import optax
import pytest

import jbatch.data.text.corpus as corpus
from jbatch import GPT, AdamW, Coupling, Experiment, LanguageModel, Mistake, Source, Tokens, fit
from jbatch.data.open import load, num_examples
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.metrics import read_metrics

VOCABULARY, WINDOW = 300, 9


def windows(count, seed) -> list[np.ndarray]:
    """Runs of numbers, so that there is something to learn."""
    starts = np.random.default_rng(seed).integers(0, 40, count)
    return [(start + np.arange(WINDOW)).astype(np.uint32) for start in starts]


def written(path, records):
    from array_record.python.array_record_data_source import ArrayRecordDataSource
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record.tobytes())
    writer.close()
    return ArrayRecordDataSource([str(path)])


def example(record, rng):
    return {"tokens": np.frombuffer(record, np.uint32)}


def experiment(train, test, of=example, workers=0, vocabulary=VOCABULARY) -> Experiment:
    return Experiment(
        Coupling(
            optax.constant_schedule(3e-2),
            unit="tokens",
            length=3 * 48 * (WINDOW - 1),
            sequence_length=WINDOW - 1,
            batch_size=8,
        ),
        task=LanguageModel(GPT(layers=1, heads=1, width=8)),
        data=Source(train, test, of, num_classes=vocabulary, workers=workers),
        optimizer=AdamW(),
        micro_batch=8,
    )


def test_array_records_of_tokens_train_as_the_same_windows_in_a_list(tmp_path):
    train, test = windows(48, 0), windows(10, 1)
    ones = jax.devices()[:1]
    listed = experiment(train, test, lambda record, rng: {"tokens": record})
    expected = fit(listed, tmp_path / "list", devices=ones)
    streams = written(tmp_path / "train", train), written(tmp_path / "test", test)
    run = fit(experiment(*streams), tmp_path / "records", devices=ones)
    assert parameters_digest(run.state.params) == parameters_digest(expected.state.params)
    first, *_, last = read_metrics(tmp_path / "records" / "metrics.jsonl")
    assert last["loss"] < first["loss"] - 0.5
    assert last["perplexity"] == pytest.approx(np.exp(last["loss"]))


def test_a_token_over_the_vocabulary_is_refused(tmp_path):
    train, test = windows(48, 0), windows(10, 1)
    train[0] = train[0] + VOCABULARY
    streams = written(tmp_path / "train", train), written(tmp_path / "test", test)
    with pytest.raises(Mistake, match=r"record 0 of train: the token 3\d\d is not within the"):
        fit(experiment(*streams), tmp_path / "run", devices=jax.devices()[:1])
    assert not (tmp_path / "run").exists()


def test_tokens_says_who_reads_such_a_file(tmp_path):
    written(tmp_path / "train.array_record", windows(3, 0))
    with pytest.raises(Mistake, match="which Tokens does not read: give a Source of its records"):
        load(Tokens(tmp_path / "train.array_record"))


def test_a_start_encodes_a_text_once_and_sees_its_changes(tmp_path, monkeypatch):
    corpus._encoded.cache_clear()
    calls, encoded = [], corpus.encoded
    monkeypatch.setattr(corpus, "encoded", lambda *given: calls.append(1) or encoded(*given))
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be " * 20)
    data = Tokens(path, sequence=4)
    count = num_examples(data)
    before = load(data)
    assert before.inputs.num_examples == count
    assert len(calls) == 1
    path.write_text("that is the question " * 20)
    assert load(data).digest() != before.digest()
    assert len(calls) == 2
    with pytest.raises(ValueError, match="read-only"):
        corpus.opened(data).splits["train"].tokens[0] = 1


def test_tokens_beside_a_label_are_of_no_class():
    """`num_classes` counts the classes of texts, and their tokens are a person's own."""
    records = [{"tokens": np.array([5, 900], np.int32), "label": np.int32(1)}] * 3
    assert num_examples(Source(records, records, num_classes=2)) == 3
