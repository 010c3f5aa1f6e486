"""Texts as data: their order, windows and tokenizers."""

import json
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import jbatch
from jbatch import Mistake, Tokens
from jbatch.data.open import load
from jbatch.data.order import epoch_cut
from jbatch.data.stream.chunks import CHUNK, TrainingPositions
from jbatch.data.stream.tokens import TokenStream
from jbatch.data.text.corpus import opened
from jbatch.data.text.tokenizer import Bytes, Characters, Learned
from jbatch.plan.passes import cut
from jbatch.prepare.text import prepare_text

TEXT = "Ünïcode ist schön, 多 and æsthetic: the quick brown fox jumps over it.\n" * 8

# ---- order --------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(1, 3000))
def test_an_epoch_shows_every_window_once(seed, epoch, count):
    cut = epoch_cut(seed, epoch, count, 64)
    assert sorted(cut.windows(np.arange(count))) == list(range(count))
    assert 0 <= cut.first < 64


def test_golden_windows():
    """Pinned: a change here changes every run that anybody has."""
    assert epoch_cut(0, 0, 10, 64).windows(np.arange(10)).tolist() == GOLDEN["small"]
    large = epoch_cut(7, 3, 10**12, 2048)
    assert large.windows(np.arange(5) + 10**11).tolist() == GOLDEN["large"]
    assert [epoch_cut(0, epoch, 10, 64).first for epoch in range(4)] == GOLDEN["first"]


GOLDEN = {
    "small": [9, 4, 5, 1, 3, 0, 8, 2, 6, 7],
    "large": [606013656819, 27207805687, 638632343378, 968048259499, 414087831008],
    "first": [55, 12, 51, 59],
}


def test_orders_look_random():
    """Neighbours are far apart, and epochs and seeds share no places beyond chance."""
    count = 20_000
    orders = [
        epoch_cut(seed, epoch, count, 64).windows(np.arange(count))
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    for order in orders:
        # |difference| of two draws has mean count/3 and deviation count/√18; over so many pairs
        # the mean's own deviation is 0.0017 · count. Six of these.
        steps = np.abs(np.diff(order)) / count
        assert steps.mean() == pytest.approx(1 / 3, abs=0.01)
        assert np.corrcoef(order, np.arange(count))[0, 1] == pytest.approx(0, abs=0.05)
    for at, one in enumerate(orders):
        for other in orders[at + 1 :]:
            assert (one == other).sum() < 12  # 1 by chance


# ---- windows ------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def room(stream, size=4):
    return [np.full((size, *leaf.shape), 99, leaf.dtype) for leaf in stream._test.leaves]


@given(sequence=st.integers(1, 70), size=st.integers(1, 5), length=st.integers(2, 140))
def test_evaluation_predicts_every_token_once(sequence, size, length, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    numbers = np.arange(200, dtype=np.uint16)
    numbers.tofile(folder / "train.bin")
    numbers[:length].tofile(folder / "test.bin")
    data = Tokens(folder / "train.bin", folder / "test.bin", sequence=sequence, vocabulary=200)
    stream = TokenStream(data)
    chunks = stream.evaluation(size, 1, [0])
    found, total = [], stream.counts[1]
    for number in range(-(-total // size)):
        counts, tokens = space = room(stream, size)
        chunk = chunks.decode(number, space)
        for count, row, there in zip(counts, tokens, chunk.exists, strict=False):
            assert (row[count + 1 :] == 0).all() or not there
            found += row[1 : count + 1].tolist()
            assert there == (count > 0)
    assert found == list(range(1, length))


def test_epochs_cut_the_text_anew_and_show_every_token_but_the_edges(text):
    data = Tokens(text, sequence=16, tokenizer="bytes", held_out=0.2)
    stream = TokenStream(data)
    whole = np.frombuffer(TEXT.encode(), np.uint8)
    train = whole[: int(len(whole) * 0.8)]
    count = stream.counts[0]
    assert count == len(train) // 16 - 1

    class Positions:
        def __getitem__(self, number):
            return np.arange(count) + number * count

    training = stream.training(5, Positions())
    seen = []
    for epoch in range(3):
        space = room(stream, count)
        training.decode(epoch, space)
        num_bytes, counts, tokens = space
        assert (counts == 16).all()
        assert (num_bytes == 16).all()
        cut = epoch_cut(5, epoch, count, 16)
        places = cut.windows(np.arange(count))
        joined = tokens[np.argsort(places)]
        np.testing.assert_array_equal(joined[:, :-1].ravel(), train[cut.first :][: count * 16])
        np.testing.assert_array_equal(joined[:-1, -1], joined[1:, 0])
        seen.append(tokens)
    assert not np.array_equal(seen[0], seen[1])


def test_any_split_and_plan_sees_the_same_windows(text):
    stream = TokenStream(Tokens(text, sequence=4, tokenizer="bytes"))
    found = []
    for largest, devices, limit in [(8, 1, None), (8, 4, 1), (32, 1, 3), (32, 8, None)]:
        plan = jbatch.couple(
            lambda epoch: 0.5**epoch,
            num_examples=stream.counts[0],
            num_epochs=3,
            batch_size=8,
            growth_factor=2,
            max_batch_size=largest,
        )
        passes = cut(set(plan.batch_sizes.tolist()), devices, None, limit)
        positions = TrainingPositions(plan, passes, range(devices))
        training, seen = stream.training(3, positions), {}
        for number in range(len(training)):
            space = room(stream, CHUNK)
            training.decode(number, space)
            for position, tokens in zip(positions[number].tolist(), space[2], strict=False):
                assert position not in seen
                seen[position] = tokens.tolist()
        assert sorted(seen) == sorted(
            position
            for row in plan
            for position in range(row.position, row.position + row.batch_size)
        )
        found.append(seen)
    for seen in found[1:]:
        shared = seen.keys() & found[0].keys()
        assert len(shared) > 2 * stream.counts[0]
        assert all(seen[position] == found[0][position] for position in shared)


def test_a_text_its_folder_and_its_bins_are_the_same_data(text, tmp_path):
    prepare_text(text, tmp_path / "folder", "characters", 0.2)
    folder = tmp_path / "folder"
    whole = tmp_path / "whole" / "train.bin"  # of one file, the end is the test set
    whole.parent.mkdir()
    train, test = ((folder / name).read_bytes() for name in ("train.bin", "test.bin"))
    whole.write_bytes(train + test)
    said = json.loads((folder / "tokens.json").read_text())
    said["files"] = {"train.bin": {"tokens": len(TEXT), "bytes": len(TEXT.encode())}}
    whole.with_name("tokens.json").write_text(json.dumps(said))
    datas = [
        Tokens(text, sequence=16, held_out=0.2),
        Tokens(folder, sequence=16),
        Tokens(str(folder / "train.bin"), folder / "test.bin", sequence=16),
        Tokens(whole, sequence=16, held_out=0.2),
    ]
    loaded = [load(data) for data in datas]
    assert len({each.digest() for each in loaded}) == 1
    assert len({each.about for each in loaded}) == 1
    assert loaded[0].about.num_classes == len(set(TEXT))
    assert isinstance(opened(datas[1]).splits["train"].tokens, np.memmap)


def test_the_digest_tells_texts_and_tokenizers_apart(text, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("fox", "fix", 1))
    datas = [
        Tokens(text, sequence=16),
        Tokens(other, sequence=16),
        Tokens(text, other, sequence=16),
        Tokens(text, sequence=16, tokenizer="bytes"),
    ]
    assert len({load(data).digest() for data in datas}) == 4


@pytest.mark.parametrize(("sequence", "vocabulary", "windows"), [(64, 65, 64), (1024, 50_257, 5)])
def test_an_evaluation_of_a_large_vocabulary_takes_fewer_windows(
    tmp_path, sequence, vocabulary, windows
):
    np.zeros(4 * sequence, np.uint16).tofile(tmp_path / "train.bin")
    data = Tokens(tmp_path / "train.bin", sequence=sequence, vocabulary=vocabulary, held_out=0.3)
    assert load(data).inputs.most_evaluated == windows


# ---- tokenizers ---------------------------------------------------------------------------------


@given(st.text())
def test_characters_and_bytes_decode_to_what_was_encoded(text):
    for tokenizer in (Bytes(), Characters.of([text, "x"])):
        assert tokenizer.decode(tokenizer.encode(text).tolist()) == text


def test_an_unknown_character_is_named():
    with pytest.raises(Mistake, match=r"the character 'z' is none of the 3 in the training text"):
        Characters("abc").encode("cabz")


def test_half_of_a_character_decodes():
    assert Bytes().decode(Bytes().encode("ü").tolist()[:1]) == "�"


@pytest.fixture
def learned(tmp_path) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    made.train_from_iterator([TEXT], trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_learned_tokenizer(learned, text, tmp_path, monkeypatch):
    tokenizer, counts = prepare_text(text, tmp_path / "folder", str(learned), 0.2)
    assert isinstance(tokenizer, Learned)
    assert tokenizer.size <= 300
    assert sum(counts.values()) < len(TEXT.encode()) / 2
    assert tokenizer.decode(tokenizer.encode(TEXT).tolist()) == TEXT
    split = opened(Tokens(tmp_path / "folder", sequence=8)).splits["train"]
    assert tokenizer.decode(split.tokens.tolist()) == TEXT[: int(len(TEXT) * 0.8)]
    num_bytes = len(TEXT[: int(len(TEXT) * 0.8)].encode())
    assert split.bytes_per_token == num_bytes / len(split.tokens)
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # training on the folder needs it not
    assert load(Tokens(tmp_path / "folder", sequence=8)).about.num_classes == tokenizer.size


def test_without_the_library_one_message_says_what_to_install(text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(Mistake, match="pip install tokenizers"):
        load(Tokens(text, sequence=16, tokenizer=str(file)))
