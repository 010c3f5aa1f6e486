"""What is wrong with official files is named."""

import gzip
import pickle

import numpy as np
import pytest

from jbatch.errors import Mistake
from jbatch.prepare import cifar, prepare
from official_files import (
    SIX,
    as_tar,
    cifar10_folder,
    idx_folder,
    images,
    jpeg,
    photographs,
    quiet,
)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def short_batch(folder):
    batch = {b"data": images(5, 3072), b"labels": [0] * 5}
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=2))


def wrong_labels(folder):
    batch = {b"data": images(SIX, 3072), b"labels": [10] * SIX}
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=2))


class Runs:
    def __reduce__(self):
        return print, ("a pickle ran this",)


def batch_of(**changes):
    """A damage that writes a batch with some parts changed."""

    def damage(folder):
        batch = {b"data": images(SIX, 3072), b"labels": [0] * SIX}
        batch |= {name.encode(): value for name, value in changes.items()}
        (folder / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=2))

    return damage


def class_names(names):
    def damage(folder):
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=2))

    return damage


def written(data):
    return lambda folder: (folder / "data_batch_3").write_bytes(data)


def objects_over_bytes():
    """An array of objects whose addresses are a file's bytes: NumPy itself ends with a fault."""

    class Array:
        def __reduce__(self):
            state = (1, (1,), np.dtype(object), False, b"A" * 8)
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

    return pickle.dumps({b"data": Array()}, protocol=2)


def bytes_for(code, length):
    """A pickle of a few bytes that asks for room for many."""
    return b"\x80\x04" + code + length.to_bytes(4, "little")


CLASSES = [f"class {n}".encode() for n in range(10)]


DAMAGED_CIFAR = {
    "objects": (written(objects_over_bytes()), "data_batch_3 is no CIFAR file, or damaged"),
    "room for 4 GB": (written(bytes_for(b"B", 2**32 - 1)), "data_batch_3 is no CIFAR file"),
    "text of 4 GB": (written(bytes_for(b"X", 2**32 - 1)), "data_batch_3 is no CIFAR file"),
    "a memo of 4 GB": (
        written(b"\x80\x02Nr" + (2**32 - 1).to_bytes(4, "little") + b"."),
        "it holds a NoneType",
    ),
    "labels of text": (batch_of(labels=["1"] * SIX), "labels that are not int"),
    "labels of None": (batch_of(labels=[None] * SIX), "labels that are not int"),
    "labels of floats": (batch_of(labels=[0.7] * SIX), "labels that are not int"),
    "labels of pairs": (batch_of(labels=[[0, 1]] * SIX), "labels that are not int"),
    "labels of bytes": (batch_of(labels=b"\0" * SIX), "has no list of labels"),
    "labels of yes": (batch_of(labels=[True] * SIX), "labels that are not int"),
    "no labels": (batch_of(labels=None), "has no list of labels"),
    "images of floats": (batch_of(data=np.zeros((SIX, 3072))), "is no CIFAR file, or damaged"),
    "few names": (class_names(CLASSES[:9]), "batches.meta .* 10 classes"),
    "many names": (class_names([*CLASSES, b"more"]), "batches.meta .* 10 classes"),
    "no names": (class_names(None), "batches.meta .* 10 classes"),
    "one name twice": (class_names(CLASSES[:9] * 2), "batches.meta .* 10 classes"),
    "names that command": (class_names([*CLASSES[:9], b"\x1b[2J"]), "batches.meta .* 10 classes"),
    "cut": (lambda f: cut(f / "data_batch_3"), "data_batch_3 is no CIFAR file, or damaged"),
    "missing": (lambda f: (f / "test_batch").unlink(), "has no test_batch"),
    "short": (short_batch, "data_batch_3 holds 5 examples and should hold 6"),
    "labels": (wrong_labels, "labels outside 0 to 9"),
    "code": (
        lambda f: (f / "data_batch_3").write_bytes(pickle.dumps(Runs())),
        "it would run builtins.print",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED_CIFAR.values(), ids=DAMAGED_CIFAR)
def test_damaged_cifar_is_named(tmp_path, damage, message, capsys):
    folder = cifar10_folder(tmp_path)
    damage(folder)
    with pytest.raises(Mistake, match=message):
        prepare("cifar10", folder, tmp_path / "data", quiet)
    assert not (tmp_path / "data").exists()
    assert "a pickle ran this" not in capsys.readouterr().out


def test_what_unpacks_to_more_is_refused_before_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "MOST_UNPACKED", 10**6)
    folder = cifar10_folder(tmp_path)
    (folder / "data_batch_0").write_bytes(bytes(10**6))
    path = as_tar(folder, tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(Mistake, match=r"data_batch_0 is larger .*: download it again"):
        prepare("cifar10", path, tmp_path / "data", quiet)
    folder, _ = idx_folder(tmp_path / "given")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10**8)))
    with pytest.raises(Mistake, match=r"more values than the official file|Over 17,600 bytes"):
        prepare("mnist", folder, tmp_path / "data", quiet)


def test_a_cut_archive_is_named(tmp_path):
    path = as_tar(cifar10_folder(tmp_path), tmp_path / "cifar-10-python.tar.gz")
    cut(path)
    with pytest.raises(Mistake, match=r"cifar-10-python\.tar\.gz .*: download it again"):
        prepare("cifar10", path, tmp_path / "data", quiet)


def rewrite(name, change):
    def damage(folder):
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return damage


DAMAGED_IDX = {
    "cut gz": (
        lambda f: cut(f / "train-images-idx3-ubyte.gz"),
        r"idx3-ubyte\.gz .*: download it",
    ),
    "missing": (
        lambda f: (f / "t10k-labels-idx1-ubyte.gz").unlink(),
        "has no t10k-labels-idx1-ubyte",
    ),
    "cut data": (
        rewrite("train-images-idx3-ubyte", lambda data: data[:-7]),
        r"6 × 28 × 28 bytes.* 4,697: download it",
    ),
    "other": (rewrite("train-labels-idx1-ubyte", lambda data: b"abcd" + data), "is no idx file"),
    "labels": (
        rewrite("train-labels-idx1-ubyte", lambda data: data[:-1] + b"\x0a"),
        "labels to 10, not",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED_IDX.values(), ids=DAMAGED_IDX)
def test_damaged_idx_is_named(tmp_path, damage, message):
    folder, _ = idx_folder(tmp_path / "given")
    damage(folder)
    with pytest.raises(Mistake, match=message):
        prepare("mnist", folder, tmp_path / "data", quiet)


def test_damaged_photographs_are_named(tmp_path):
    folder = photographs(tmp_path / "pets")
    path = folder / "train" / "dog" / "1.JPEG"
    whole = path.read_bytes()
    for damage, message in (
        (whole[:-2], r"train/dog/1\.JPEG ends too early"),
        (b"hello", r"train/dog/1\.JPEG .* \(neither a JPEG nor a PNG"),
        (jpeg(form="GIF"), r"1\.JPEG .* \(neither a JPEG nor a PNG"),
    ):
        path.write_bytes(damage)
        with pytest.raises(Mistake, match=message):
            prepare("pets", folder, tmp_path / "data", quiet)
    path.write_bytes(whole)
    prepare("pets", folder, tmp_path / "data", quiet)  # mended, it goes on
