"""What is found out of a `Source` when it is opened: its digest, and how it is loaded."""

import time
from collections import Counter
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from jbatch import Arrays, Coupling, Experiment, Functions, Mistake, Source, fit
from jbatch.data.open import load
from jbatch.data.stream.source import HASHED
from jbatch.machine import usable_cores
from jbatch.run.directory import read_run

RECORDS = list(range(1000))


def example(record, rng):
    return {"value": np.float32(record)}


def source(train=RECORDS[:100], test=RECORDS[:30], **options) -> Source:
    return Source(train, test, example, workers=0, **options)


def with_one_more(records, index):
    return [*records[:index], records[index] + 1, *records[index + 1 :]]


@pytest.mark.parametrize("index", [0, 7, 55, 99])
def test_each_record_of_a_small_split_counts(index):
    digest = load(source()).digest()
    assert load(source()).digest() == digest
    assert load(source(with_one_more(RECORDS[:100], index))).digest() != digest
    assert load(source(test=with_one_more(RECORDS[:30], index % 30))).digest() != digest


def test_of_a_large_split_so_many_records_count_and_their_number():
    data = load(source(RECORDS))
    assert data.covered == (
        "256 of 1,000 train records as load gives them in evaluation and "
        "all 30 test records as load gives them in evaluation"
    )
    changed = [
        load(source(with_one_more(RECORDS, index))).digest() != data.digest()
        for index in range(0, 1000, 10)
    ]
    assert sum(changed) == pytest.approx(100 * HASHED / 1000, abs=10)
    assert load(source(RECORDS[:-1])).digest() != data.digest()


class Stream:
    """Records without a len, which end after 100."""

    def __getitem__(self, index):
        return RECORDS[:100][index]


def test_a_stream_may_end_before_the_digest_has_read_enough():
    data = load(source(Stream()))
    assert data.covered.startswith("the first 100 train records")
    assert data.digest() != load(source()).digest()


class Uncounted(list):
    """Records that cannot say how many they are."""

    def __len__(self):
        raise TypeError("the length is not known")


def test_a_len_that_fails_is_a_mistake():
    with pytest.raises(
        Mistake, match=r"len\(\) of the train records fails \(TypeError: the length"
    ):
        load(source(Uncounted(RECORDS)))


class Versioned(list):
    """Records that say what they are."""

    version = "1"

    def digest(self) -> str:
        return self.version


def test_records_may_say_what_they_are():
    records, other = Versioned(RECORDS), Versioned(RECORDS)
    other.version = "2"
    assert load(source(records)).digest() == load(source(Versioned(RECORDS))).digest()
    assert load(source(records)).digest() != load(source(other)).digest()
    assert "256 of 1,000 train records as load gives them in evaluation, and their digest()" in (
        load(source(records)).covered
    )

    class Failing(Versioned):
        def digest(self):
            raise KeyError("no version")

    with pytest.raises(Mistake, match=r"digest\(\) of the train records fails \(KeyError: "):
        load(source(Failing(RECORDS))).digest()


def test_each_record_is_read_once_though_there_is_a_validation_set():
    read = Counter()

    class Counted(list):
        def __getitem__(self, index):
            read[index] += 1
            return super().__getitem__(index)

    data = load(source(Counted(RECORDS[:100]), validation=RECORDS[30:60]))
    digests = {data.digest(), data.validation().digest(), data.digest()}
    assert len(digests) == 2
    assert set(read.values()) == {1, 3}  # the first one also tells shapes and dtypes
    assert [index for index, count in read.items() if count > 1] == [0]


def test_arrays_are_hashed_once_though_there_is_a_validation_set(monkeypatch):
    hashed, contiguous = [], np.ascontiguousarray

    def counted(array):
        hashed.append(len(array))
        return contiguous(array)

    monkeypatch.setattr(np, "ascontiguousarray", counted)
    arrays = [{"x": np.arange(count)} for count in (50, 30, 20)]
    data = load(Arrays(arrays[0], arrays[1], validation=arrays[2]))
    digests = data.digest(), data.validation().digest()
    assert hashed == [50, 30, 20]
    monkeypatch.undo()
    expected = [load(Arrays(arrays[0], arrays[n])).digest() for n in (1, 2)]
    assert list(digests) == expected


def test_the_run_says_what_its_digest_covers(tmp_path):
    def loss(params, example, key):
        return (params["w"] - example["value"]) ** 2

    task = Functions(lambda *_: {"w": jax.numpy.zeros(())}, loss)
    plan = Coupling(optax.constant_schedule(1e-9), num_epochs=1, batch_size=50)
    mine = Experiment(plan, task=task, data=source())
    one = jax.devices()[:1]
    fit(mine, tmp_path / "run", devices=one)
    said = read_run(tmp_path / "run")["data_digest_covers"]
    assert said.startswith("all 100 train records as load gives them in evaluation and all 30 test")
    values = {"value": np.arange(100, dtype=np.float32)}
    fit(replace(mine, data=Arrays(values, values)), tmp_path / "arrays", devices=one)
    assert read_run(tmp_path / "arrays")["data_digest_covers"] == "all examples"


@pytest.mark.parametrize(("seconds", "workers"), [(0, 0), (0.02, usable_cores())])
def test_workers_start_for_records_that_take_long_to_load(seconds, workers):
    """By default; a hundred records of 20 ms take two seconds."""

    def slowly(record, rng):
        if rng is not None:  # as training loads them
            time.sleep(seconds)
        return example(record, rng)

    data = load(Source(RECORDS[:100], RECORDS[:30], slowly))
    assert data._workers == workers
    assert load(Source(RECORDS[:100], RECORDS[:30], slowly, workers=2))._workers == 2
