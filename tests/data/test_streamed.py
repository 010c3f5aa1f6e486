"""The stream from worker processes to the devices."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import wait

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from jbatch.data.image.photographs import ImageFolder, Photographs
from jbatch.data.image.tfds import TFDS
from jbatch.data.open import load
from jbatch.data.stream import chunks
from jbatch.data.stream import feed as feeds
from jbatch.data.stream.feed import StreamedData
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Coupling
from jbatch.plan.layout import AXIS
from jbatch.plan.passes import cut
from photographs import write_folder
from processes import python_children

N, NUM_TEST = 96, 25
PLAN = Coupling(
    schedule=optax.piecewise_constant_schedule(0.1, {1: 0.25}),
    num_examples=N,
    num_epochs=2,
    batch_size=8,
    batch_sizes=(8, 32),
).plan()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("photographs"), N, NUM_TEST)


def data_of(folder, workers, **options) -> StreamedData:
    view = Photographs(ImageFolder(folder), image_size=16, workers=workers, **options)
    return load(view)


def mesh_of(devices, permuted=False) -> Mesh:
    chosen = jax.devices()[:devices]
    return Mesh(np.array(chosen[::-1] if permuted else chosen), (AXIS,))


def stream(folder, workers, update=0, devices=4, permuted=False, limit=None) -> list:
    """[images, labels, …] of each pass from an update on, as bytes in the order of the mesh."""
    mesh = mesh_of(devices, permuted)
    passes = cut(set(PLAN.batch_sizes.tolist()), devices, 8, limit)
    feed = data_of(folder, workers).feed(mesh, 3, PLAN, passes, update)
    found = []
    try:
        for row in map(PLAN.at, range(update, PLAN.num_updates)):
            position = row.position
            for layout in passes[row.batch_size].layouts:
                examples, _, where = feed.arguments(position, layout)
                images, labels = examples["image"], examples["label"]
                assert images.shape == (devices, layout.per_device, 16, 16, 3)
                places = np.stack([layout.places(row) for row in range(devices)])
                at = position + places.ravel()
                pixels = np.asarray(images).reshape(-1, 16, 16, 3)
                found += zip(at.tolist(), np.ravel(labels).tolist(), pixels, strict=True)
                assert where.tolist() == [position // N, position % N]
                position += layout.size
    finally:
        feed.close()
    return [(at, label, image.tobytes()) for at, label, image in sorted(found, key=lambda f: f[0])]


@pytest.fixture(scope="module")
def alone(folder):
    """Decoded without workers."""
    return stream(folder, 0)


@pytest.mark.parametrize("workers", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_give_the_same_bytes(folder, alone, workers):
    assert len(alone) == 2 * N
    assert stream(folder, workers) == alone


@pytest.mark.parametrize(("devices", "permuted", "limit"), [(1, False, 8), (8, True, None)])
def test_devices_and_micro_batches_give_the_same_bytes(folder, alone, devices, permuted, limit):
    assert stream(folder, 0, devices=devices, permuted=permuted, limit=limit) == alone


@pytest.mark.parametrize("update", [5, 12, 13, 15])
def test_resuming_goes_on_with_the_same_bytes(folder, alone, update):
    """Within a phase, at its boundary, and after."""
    start = PLAN.position(update)
    assert stream(folder, 0, update) == [example for example in alone if example[0] >= start]


def test_evaluations_repeat_every_example(folder):
    data, mesh = data_of(folder, 0), mesh_of(4)
    test = data.test(mesh, 3)
    try:
        for _ in range(2):
            labels, seen = [], []
            for examples, exists in test.passes():
                images, label = examples["image"], examples["label"]
                assert images.shape == (4, 3, 16, 16, 3)
                labels += np.asarray(label)[np.asarray(exists)].tolist()
                seen += np.asarray(images)[np.asarray(exists)].reshape(-1, 768).tolist()
            assert len(labels) == NUM_TEST
            assert np.bincount(labels).tolist() == [9, 8, 8]
            assert len({bytes(image) for image in seen}) == NUM_TEST
    finally:
        test.close()


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """How many examples each chunk has that was decoded so far."""
    counts, stream = [], feeds.decoded

    def counted(*arguments):
        for room, chunk in stream(*arguments):
            counts.append(len(chunk.exists))
            yield room, chunk

    monkeypatch.setattr(feeds, "decoded", counted)
    return counts


def test_few_passes_are_held_at_once(folder, decoded):
    """Of an update of twelve passes only those are decoded that are soon asked for."""
    plan = Coupling(optax.constant_schedule(0.1), 1, 96, num_examples=N, batch_sizes=(96,)).plan()
    passes = cut([96], 1, 8, 8)
    feed = data_of(folder, 0).feed(mesh_of(1), 3, plan, passes, 0)
    try:
        for taken in (1, 2, 3):
            feed.arguments(8 * (taken - 1), passes[96].layouts[0])
            wait(feed._passes._ready)
            assert len(decoded) == taken + feeds.PASSES_AHEAD
    finally:
        feed.close()


def test_the_next_phase_is_decoded_before_it_begins(folder, decoded):
    passes = cut(set(PLAN.batch_sizes.tolist()), 1, 8, None)
    feed = data_of(folder, 0).feed(mesh_of(1), 3, PLAN, passes, 11)
    row = PLAN.at(11)
    assert (row.batch_size, PLAN.at(12).batch_size) == (8, 32)
    feed.arguments(row.position, passes[8].layouts[0])
    wait(feed._passes._ready)
    assert decoded == [8, 32, 32]
    with pytest.raises(RuntimeError, match=r"pass at 0 .* at 96 is next"):
        feed.arguments(0, passes[8].layouts[0])
    feed.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_passes_of_several_chunks_are_whole(folder, alone, workers, monkeypatch):
    if not workers:
        monkeypatch.setattr(chunks, "CHUNK", 3)
    plan = Coupling(optax.constant_schedule(0.1), 2, 48, num_examples=N, batch_sizes=(48,)).plan()
    passes = cut([48], 1, 8, None)
    feed = data_of(folder, workers).feed(mesh_of(1), 3, plan, passes, 0)
    found = []
    for row in map(plan.at, range(plan.num_updates)):
        examples, *_ = feed.arguments(row.position, passes[48].layouts[0])
        images, labels = examples["image"], examples["label"]
        places = row.position + passes[48].layouts[0].places(0)
        pixels = (image.tobytes() for image in np.asarray(images)[0])
        found += zip(places.tolist(), np.asarray(labels)[0].tolist(), pixels, strict=True)
    feed.close()
    assert sorted(found) == alone


def test_shared_memory_that_is_not_there_is_said_before_it_is_missed(folder, monkeypatch):
    usage = shutil.disk_usage("/dev/shm")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    passes = data_of(folder, 1).test(mesh_of(1), 1).passes()
    with pytest.raises(Mistake, match=r"of shared memory, but .* only \S+ KiB free: .*--shm-size"):
        next(passes)


UNCLOSED = """
from pathlib import Path
from jbatch.data.image.photographs import ImageFolder, Photographs
from jbatch.data.open import load
from jbatch.data.image.tfds import TFDS
from jbatch.devices import meshes
import jax
if __name__ == "__main__":
    view = Photographs(ImageFolder(Path("{folder}")), image_size=16, workers=2)
    test = load(view).test(meshes.make_mesh(jax.devices()), 1)
    examples, _ = next(test.passes())
    print(examples["image"].shape)
"""


def test_a_script_that_closes_nothing_ends_all_the_same(folder, tmp_path):
    script = tmp_path / "unclosed.py"
    script.write_text(UNCLOSED.format(folder=folder))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "(8, 1, 16, 16, 3)" in done.stdout


def test_a_worker_that_dies_is_reported(folder):
    before = python_children(os.getpid())
    test = data_of(folder, 1).test(mesh_of(1), 1)
    passes = test.passes()
    next(passes)
    [worker] = python_children(os.getpid()) - before
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(Mistake, match=r"worker died \(.* exit code -9.*\. If memory ran out"):
        list(passes)
    test.close()
    assert not python_children(os.getpid()) - before


def test_a_worker_that_dies_when_it_begins_is_reported(tmp_path):
    """However much it is told: here nobody guards the script from being run again by workers."""
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert "a data worker died (" in done.stdout, done.stderr
    assert "if __name__ == '__main__'" in done.stderr  # Python's own advice


UNGUARDED = """
import sys
import numpy as np
from jbatch.data.stream import workers
from jbatch.data.stream.chunks import Leaf
from jbatch.errors import Mistake

class Chunks:
    leaves = (Leaf((1,), "uint8"),)
    much = np.zeros(1 << 20)
    def __len__(self):
        return 4

try:
    next(workers.decoded(Chunks(), 0, 1))
except Mistake as mistake:
    print(mistake)
"""


def test_a_damaged_file_is_named_by_the_trainer(tmp_path):
    folder = write_folder(tmp_path, N, NUM_TEST)
    victim = folder / "train" / "cat" / "0004.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    passes = cut(set(PLAN.batch_sizes.tolist()), 1, 8, None)
    feed = data_of(folder, 1).feed(mesh_of(1), 3, PLAN, passes, 0)

    def take_all(feed):
        for row in map(PLAN.at, range(PLAN.num_updates)):
            feed.arguments(row.position, passes[row.batch_size].layouts[0])

    with pytest.raises(Mistake, match=r"train/cat/0004.jpg \(example 33\) does not decode"):
        take_all(feed)
    feed.close()
    feed = data_of(folder, 0, damaged="replace").feed(mesh_of(1), 3, PLAN, passes, 0)
    take_all(feed)
    assert feed.damaged == ["train/cat/0004.jpg (example 33)"] * 2  # once an epoch
    feed.close()


def test_values_are_checked():
    view = Photographs(ImageFolder("here"))
    for change, message in (
        ({"image_size": 0}, "image_size is 0: give a whole number of at least 1"),
        ({"central": 1.5}, "central is 1.5: give a share above 0 and at most 1"),
        ({"deviation": (1.0, 0.0, 1.0)}, r"deviation is .*: give three values above 0"),
        ({"damaged": "skip"}, "damaged is 'skip': give stop or replace"),
        ({"workers": -1}, "workers is -1: give a whole number of at least 0"),
    ):
        with pytest.raises(Mistake, match=message):
            dataclasses.replace(view, **change)


def test_where_photographs_lie_and_who_decodes_them_does_not_tell_runs_apart():
    assert Photographs(ImageFolder("here"), workers=3) == Photographs(ImageFolder("there"))


ONE_PASS = """
import sys
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.records import open_records
from jbatch.data.sources import TFDS
from jbatch.data.stream import chunks, workers


class Witness:
    records = open_records(TFDS("{name}", "{data_dir}", test="validation")).test
    count = records.count

    def read(self, indices):
        tensorflow = "tensorflow" in sys.modules
        return [file._replace(label=int(tensorflow)) for file in self.records.read(indices)]


if __name__ == "__main__":
    view = Photographs(TFDS("{name}"), image_size=8)
    evaluation = chunks.EvaluationChunks(Witness(), view, 4, 1, [0])
    stream = workers.decoded(evaluation, 0, 1)
    (_, labels), _ = next(stream)
    print(sum(labels.tolist()), "tensorflow" in sys.modules)
    stream.close()
"""


def test_tensorflow_is_never_imported(folder, tmp_path):
    from jbatch.prepare import prepare

    prepare("little_photographs", folder, tmp_path, lambda *_: None)
    script = tmp_path / "one_pass.py"
    script.write_text(ONE_PASS.format(name="little_photographs", data_dir=tmp_path))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert done.stdout == "0 False\n", done.stderr


def test_hosts_with_other_shards_are_told_apart(folder, tmp_path):
    from jbatch.prepare import prepare

    digests = []
    for name in ("one", "two", "two"):
        if not (tmp_path / name).exists():
            prepare("little_photographs", folder, tmp_path / name, lambda *_: None)
        else:
            shard = next((tmp_path / name).rglob("*train*array_record*"))
            shard.write_bytes(shard.read_bytes() + b"0")
        source = TFDS("little_photographs", str(tmp_path / name), test="validation")
        data = load(Photographs(source, image_size=8))
        digests.append(data.digest())
    assert digests[0] == digests[1] != digests[2]
