"""Chunks of a run: the same examples for every host and batch size, found without what precedes."""

import dataclasses
import itertools

import numpy as np
import optax
import pytest

import jbatch
from jbatch.data.image.crops import random_crop
from jbatch.data.image.photographs import ImageFolder, Photographs
from jbatch.data.image.records import File, open_records
from jbatch.data.order import epoch_order
from jbatch.data.stream.chunks import (
    CHUNK,
    MOST_DAMAGED,
    EvaluationChunks,
    TrainingChunks,
    TrainingPositions,
    host_places,
)
from jbatch.errors import Mistake
from jbatch.plan.passes import cut
from photographs import encoded, picture, write_folder

N, SEED = 120, 5
VIEW = Photographs(ImageFolder("nowhere"), image_size=8)


class Pictures:
    """Examples in memory; some damaged. Counts what is read."""

    def __init__(self, count=N, damaged=()):
        self.count, self.damaged, self.seen = count, damaged, []

    def read(self, indices):
        self.seen += indices
        return [
            File(f"picture {index}", b"" if index in self.damaged else data, index)
            for index, data in zip(indices, map(self._data, indices), strict=True)
        ]

    def _data(self, index):
        return encoded(picture(index, 24, 24))


def decoded(chunks, number):
    """(images, labels, the rest) of a chunk."""
    room = [np.full((CHUNK, *leaf.shape), 7, leaf.dtype) for leaf in chunks.leaves]
    chunk = chunks.decode(number, room)
    images, labels = (array[: len(chunk.exists)] for array in room)
    return images, labels, chunk


def plan_of(num_epochs=3, largest=80):
    return jbatch.couple(
        optax.piecewise_constant_schedule(0.1, {1: 0.2, 2: 0.5}),
        num_examples=N,
        num_epochs=num_epochs,
        batch_size=8,
        batch_sizes=[8, 40, 80],
        max_batch_size=largest,
    )


def positions_of(plan, rows, devices=4, limit=10):
    passes = cut(set(plan.batch_sizes.tolist()), devices, 8, limit)
    return TrainingPositions(plan, passes, rows), passes


@pytest.mark.parametrize("hosts", [[[0, 1, 2, 3]], [[0, 3], [1, 2]], [[2], [0], [1], [3]]])
def test_all_hosts_together_hold_each_update_once(hosts):
    """However the devices of the mesh belong to hosts."""
    plan = plan_of()
    found = [[] for _ in range(plan.num_updates)]
    for rows in hosts:
        positions, _ = positions_of(plan, rows)
        ends = [positions.first(update) for update in range(plan.num_updates + 1)]
        assert ends[-1] == len(positions)
        for update, (first, end) in enumerate(itertools.pairwise(ends)):
            found[update] += np.concatenate([positions[n] for n in range(first, end)]).tolist()
    for row, seen in zip(map(plan.at, range(plan.num_updates)), found, strict=True):
        assert sorted(seen) == list(range(row.position, row.position + row.batch_size))


def test_chunks_follow_the_layout_of_each_pass():
    """The parts of a pass, one after another, are the places of the host's devices in order."""
    plan, rows = plan_of(), [1, 2]
    positions, passes = positions_of(plan, rows)
    number = 0
    for row in map(plan.at, range(plan.num_updates)):
        start = row.position
        for layout in passes[row.batch_size].layouts:
            expected = start + host_places(layout, rows)
            found = []
            while len(found) < len(expected):
                found += positions[number].tolist()
                number += 1
            assert found == expected.tolist()
            start += layout.size
    assert number == len(positions)


def test_a_chunk_needs_nothing_of_those_before():
    """At the end of a very long run only its own examples are read."""
    plan, records = plan_of(num_epochs=20_000, largest=8), Pictures()
    positions, _ = positions_of(plan, [0, 1, 2, 3])
    chunks = TrainingChunks(records, VIEW, SEED, positions)
    _, labels, _ = decoded(chunks, len(chunks) - 1)
    epoch, places = divmod(positions[len(positions) - 1], N)
    assert epoch[0] == 19_999
    assert labels.tolist() == epoch_order(SEED, 19_999, N)[places].tolist() == records.seen


def test_examples_do_not_depend_on_the_batch():
    def stream(largest):
        plan = plan_of(largest=largest)
        positions, _ = positions_of(plan, [0, 1, 2, 3])
        chunks = TrainingChunks(Pictures(), VIEW, SEED, positions)
        return {
            position: image.tobytes()
            for number in range(len(chunks))
            for position, image in zip(positions[number], decoded(chunks, number)[0], strict=True)
        }

    small, large = stream(8), stream(80)
    common = small.keys() & large.keys()
    assert len(common) > 300
    assert all(small[position] == large[position] for position in common)
    assert len(set(small.values())) > 0.95 * len(small)  # crops differ from epoch to epoch


def first_chunk(records, view=VIEW):
    positions, _ = positions_of(plan_of(), [0, 1, 2, 3])
    return decoded(TrainingChunks(records, view, SEED, positions), 0)


def test_a_damaged_file_stops_the_run_and_is_named():
    index = int(epoch_order(SEED, 0, N)[3])
    with pytest.raises(Mistake, match=rf"picture {index} does not decode \(.*\): restore it, or"):
        first_chunk(Pictures(damaged={index}))


def test_a_damaged_file_is_replaced_by_the_next_positions_example():
    order = epoch_order(SEED, 0, N)
    damaged = set(order[3:5].tolist())
    view = dataclasses.replace(VIEW, damaged="replace")
    images, labels, chunk = first_chunk(Pictures(damaged=damaged), view)
    whole, *_ = first_chunk(Pictures())
    expected = order[[0, 1, 2, 5, 5, 5, 6, 7]].tolist()
    assert labels.tolist() == expected
    assert chunk.damaged == (f"picture {order[3]}", f"picture {order[4]}")  # each example once
    # Only what was damaged is another, and its crop is that of its own position.
    same = [n for n in range(8) if np.array_equal(images[n], whole[n])]
    assert same == [0, 1, 2, 5, 6, 7]
    assert not np.array_equal(images[3], images[5])
    assert random_crop(SEED, 3, 24, 24) != random_crop(SEED, 5, 24, 24)


def test_a_set_of_damaged_files_is_refused():
    view = dataclasses.replace(VIEW, damaged="replace")
    with pytest.raises(Mistake, match=f"{MOST_DAMAGED} examples in a row .* picture .*: restore"):
        first_chunk(Pictures(damaged=set(range(N))), view)


@pytest.mark.parametrize("hosts", [[[0, 1, 2]], [[0, 2], [1]]])
@pytest.mark.parametrize("count", [1, 47, 60])
def test_an_evaluation_holds_each_example_once(hosts, count):
    seen = []
    for rows in hosts:
        chunks = EvaluationChunks(Pictures(count), VIEW, 10, 3, rows)
        for number in range(chunks.each):
            _, labels, chunk = decoded(chunks, number)
            seen += labels[chunk.exists].tolist()
    assert sorted(seen) == list(range(count))


def test_a_damaged_test_file_is_left_out_or_stops():
    chunks = EvaluationChunks(Pictures(damaged={2}), VIEW, 10, 1, [0])
    with pytest.raises(Mistake, match="picture 2 does not decode"):
        decoded(chunks, 0)
    view = dataclasses.replace(VIEW, damaged="replace")
    _, labels, chunk = decoded(EvaluationChunks(Pictures(damaged={2}), view, 10, 1, [0]), 0)
    assert chunk.damaged == ("picture 2",)
    assert labels[chunk.exists].tolist() == [0, 1, *range(3, 10)]


def test_an_image_folder_is_read_in_the_order_of_its_names(tmp_path):
    write_folder(tmp_path, 7, 4)
    (tmp_path / "train" / "dog" / "notes.txt").write_text("not a photograph")
    train, test, names, validation = open_records(ImageFolder(tmp_path))
    assert validation is None
    assert (train.count, test.count, names) == (7, 4, ("bird", "cat", "dog"))
    files = list(train.read([0, 2, 6]))
    assert [file.name for file in files] == [
        "train/bird/0000.jpg (example 0)",
        "train/bird/0006.jpg (example 2)",
        "train/dog/0005.jpg (example 6)",
    ]
    assert [file.label for file in files] == [0, 0, 2]
    assert files[0].data == (tmp_path / "train" / "bird" / "0000.jpg").read_bytes()
    with pytest.raises(Mistake, match="images of train, validation, but none of test: set"):
        open_records(ImageFolder(tmp_path, test="test"))
    with pytest.raises(Mistake, match=r"0006.jpg is no folder: give one that holds train/CLASS"):
        open_records(ImageFolder(tmp_path / "train" / "bird" / "0006.jpg"))
    (tmp_path / "train" / "bird" / "0006.jpg").unlink()
    assert next(iter(train.read([2])))[1:] == (None, 0, "No such file or directory")
