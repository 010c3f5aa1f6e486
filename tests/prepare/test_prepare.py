"""From people's files to a data set that tfds.data_source reads, and what is wrong with the files.

The files are made here, small, in the official forms; the official counts are made small with them.
"""

import gzip
import io
import os
import pickle
import struct
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jbatch.cli import main
from jbatch.data.sources import TFDS
from jbatch.errors import Mistake
from jbatch.prepare import cifar, idx, imagenet, prepare
from jbatch.prepare.image_folder import checked

RNG = np.random.default_rng(0)
SIX = 6  # examples in each file


@pytest.fixture(autouse=True)
def small_counts(monkeypatch):
    monkeypatch.setattr(cifar, "COUNTS", dict.fromkeys(cifar.COUNTS, SIX))
    monkeypatch.setattr(idx, "FILES", {"train": ("train", SIX), "test": ("t10k", SIX)})
    monkeypatch.setattr(imagenet, "COUNTS", {"train": 4, "validation": 2})


def quiet(split, done, total):
    pass


def images(count, *shape):
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8)


def cifar10_folder(folder):
    (folder / "cifar-100-python").mkdir(parents=True)  # beside it: not to be mistaken for it
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*cifar.BATCHES, "test_batch"):
        batch = {b"data": images(SIX, 3072), b"labels": RNG.integers(0, 10, SIX).tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {b"label_names": [f"class {n}".encode() for n in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


def unpickled(path):
    return pickle.loads(path.read_bytes(), encoding="bytes")


def as_tar(folder, path):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        archive.add(folder, folder.name)
    return path


def read(name, data_dir, split):
    return tfds.data_source(name, data_dir=data_dir, split=split, download=False)


@pytest.mark.parametrize("form", ["folder", "folder above", "tar.gz"])
def test_cifar10(tmp_path, form):
    folder = cifar10_folder(tmp_path / "given")
    sources = {
        "folder": folder,
        "folder above": folder.parent,
        "tar.gz": as_tar(folder, tmp_path / "cifar-10-python.tar.gz"),
    }
    directory, counts, before = prepare("cifar10", sources[form], tmp_path / "data", quiet)
    assert (counts, before) == ({"train": 5 * SIX, "test": SIX}, False)
    assert directory == tmp_path / "data" / "cifar10" / "3.0.2"
    train = read("cifar10", tmp_path / "data", "train")
    assert len(train) == 5 * SIX
    batch = unpickled(folder / "data_batch_2")
    expected = batch[b"data"][1].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(train[SIX + 1]["image"], expected)
    assert train[SIX + 1]["label"] == batch[b"labels"][1]
    assert train[SIX + 1]["id"] == b"train_00007"
    assert read("cifar10", tmp_path / "data", "test")[0]["id"] == b"test_00000"
    assert "tensorflow" not in sys.modules
    # The same features as the official builder's.
    info = tfds.builder("cifar10", data_dir=tmp_path / "data").info
    assert info.features["label"].names[3] == "class 3"
    assert str(info.features) == str(tfds.builder_cls("cifar10")(data_dir=tmp_path).info.features)


def test_cifar100(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        labels = {b"fine_labels": list(range(94, 100)), b"coarse_labels": list(range(14, 20))}
        batch = {b"data": images(SIX, 3072), **labels}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {
        b"fine_label_names": [f"fine {n}".encode() for n in range(100)],
        b"coarse_label_names": [f"coarse {n}".encode() for n in range(20)],
    }
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))
    prepare("cifar100", folder, tmp_path / "data", quiet)
    example = read("cifar100", tmp_path / "data", "test")[5]
    assert (example["label"], example["coarse_label"]) == (99, 19)
    loaded = TFDS("cifar100", tmp_path / "data").load()
    assert loaded.num_classes == 100


def idx_folder(folder, gz=True):
    folder.mkdir()
    written = {}
    for prefix in ("train", "t10k"):
        for kind, array in (
            ("images-idx3", images(SIX, 28, 28)),
            ("labels-idx1", RNG.integers(0, 10, SIX).astype(np.uint8)),
        ):
            header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            data = header + array.tobytes()
            name = f"{prefix}-{kind}-ubyte"
            written[name] = array
            if gz:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder, written


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("gz", [True, False])
def test_idx(tmp_path, name, gz):
    folder, written = idx_folder(tmp_path / "given", gz)
    prepare(name, folder, tmp_path / "data", quiet)
    test = read(name, tmp_path / "data", "test")
    assert len(test) == SIX
    np.testing.assert_array_equal(test[4]["image"][..., 0], written["t10k-images-idx3-ubyte"][4])
    assert test[4]["label"] == written["t10k-labels-idx1-ubyte"][4]


def jpeg(shape=(20, 30, 3), mode="RGB", form="JPEG"):
    file = io.BytesIO()
    Image.fromarray(images(1, *shape)[0]).convert(mode).save(file, form)
    return file.getvalue()


def photographs(folder, splits=("train", "val"), classes=("cat", "dog")):
    for split in splits:
        for label in classes:
            (folder / split / label).mkdir(parents=True)
            for number in range(2):
                (folder / split / label / f"{number}.JPEG").write_bytes(jpeg())
    return folder


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_an_image_folder_under_a_name_of_ones_own(tmp_path, form):
    folder = photographs(tmp_path / "pets")
    source = folder if form == "folder" else as_tar(folder, tmp_path / "pets.tar")
    prepare("my_pets", source, tmp_path / "data", quiet)
    train = read("my_pets", tmp_path / "data", "train")
    assert [example["label"] for example in train] == [0, 0, 1, 1]
    stored = tfds.data_source(
        "my_pets",
        data_dir=tmp_path / "data",
        split="validation",
        download=False,
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    # Photographs stay the files that they were.
    assert stored[3]["image"] == (folder / "val" / "dog" / "1.JPEG").read_bytes()
    loaded = TFDS("my_pets", tmp_path / "data", test="validation").load()
    assert loaded.train.images.shape == (4, 20, 30, 3)
    assert loaded.num_classes == 2


def imagenet_tars(folder, synsets=("n01440764", "n01443537")):
    folder.mkdir()
    files = {}

    def add(archive, name, data):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))

    with tarfile.open(folder / imagenet.TRAIN, "w") as outer:
        for synset in synsets:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for number in range(2):
                    name = f"{synset}_{number}.JPEG"
                    files[name] = jpeg()
                    add(archive, name, files[name])
            add(outer, f"{synset}.tar", inner.getvalue())
    with tarfile.open(folder / imagenet.VALIDATION, "w") as archive:
        for number in (2, 1):  # not in order, as in the official file
            add(archive, f"ILSVRC2012_val_{number:08}.JPEG", jpeg())
    (folder / imagenet.LABELS).write_text("n01443537\nn01440764\n")
    return folder, files


def test_imagenet(tmp_path):
    folder, files = imagenet_tars(tmp_path / "given")
    prepare("imagenet2012", folder, tmp_path / "data", quiet)
    train = read("imagenet2012", tmp_path / "data", "train")
    assert [example["file_name"].decode() for example in train] == list(files)
    assert [example["label"] for example in train] == [0, 0, 1, 1]
    expected = np.asarray(Image.open(io.BytesIO(files["n01443537_1.JPEG"])))
    np.testing.assert_array_equal(train[3]["image"], expected)
    validation = read("imagenet2012", tmp_path / "data", "validation")
    assert [example["label"] for example in validation] == [1, 0]
    assert validation[0]["file_name"] == b"ILSVRC2012_val_00000001.JPEG"


def test_imagenet_unpacked(tmp_path):
    folder = photographs(tmp_path / "given", classes=("n01440764", "n01443537"))
    imagenet.COUNTS["validation"] = 4
    prepare("imagenet2012", folder, tmp_path / "data", quiet)
    assert read("imagenet2012", tmp_path / "data", "validation")[2]["file_name"] == b"0.JPEG"


def test_cmyk_and_misnamed_photographs_become_rgb_jpegs():
    for given in (jpeg(mode="CMYK"), jpeg(form="PNG")):
        image = Image.open(io.BytesIO(checked("x.JPEG", given)))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (30, 20))
    png = jpeg(form="PNG")
    assert checked("x.png", png) is png


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    shards = "tensorflow_datasets.core.utils.shard_utils.ShardConfig.calculate_number_shards"
    monkeypatch.setattr(shards, lambda *_: 3)
    monkeypatch.setattr("jbatch.prepare.shards.EVERY", 1)
    folder, _ = idx_folder(tmp_path / "given")
    incomplete = tmp_path / "data" / "mnist" / "3.0.1.incomplete"

    def stop_at(number):
        def progress(split, done, total):
            if (split, done) == ("train", number):
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        prepare("mnist", folder, tmp_path / "data", stop_at(5))
    written = {path: path.stat().st_mtime_ns for path in incomplete.glob("*-of-*[0-9]")}
    assert len(written) == 2  # whole files of two examples each; the third was cut
    with pytest.raises(Mistake, match="is missing"):
        TFDS("mnist", tmp_path / "data").load()

    made = []
    prepare("mnist", folder, tmp_path / "data", lambda split, done, total: made.append(done))
    directory = tmp_path / "data" / "mnist" / "3.0.1"
    assert {p.name: p.stat().st_mtime_ns for p in directory.iterdir()}.items() >= {
        path.name: time for path, time in written.items()
    }.items()
    assert made[0] == 4
    assert len(TFDS("mnist", tmp_path / "data").load().train.labels) == SIX
    # The same again is complete, as where a kill came after the last of it; another is refused.
    assert prepare("mnist", folder, tmp_path / "data", quiet).before
    other, _ = idx_folder(tmp_path / "other")
    with pytest.raises(Mistake, match=r"3\.0\.1 is there already"):
        prepare("mnist", other, tmp_path / "data", quiet)


def test_what_cannot_be_written_leaves_no_half_file(tmp_path, monkeypatch):
    folder, _ = idx_folder(tmp_path / "given")

    def full(path, _):
        path.write_bytes(b"half")
        raise RuntimeError("write() failed: No space left on device")  # as ArrayRecord's writer

    adapter = "tensorflow_datasets.core.file_adapters.ArrayRecordFileAdapter.write_examples"
    with monkeypatch.context() as patched:
        patched.setattr(adapter, full)
        with pytest.raises(Mistake, match=r"No space left on device\): the whole set takes"):
            prepare("mnist", folder, tmp_path / "data", quiet)
    assert not list(tmp_path.rglob("*.tmp"))
    prepare("mnist", folder, tmp_path / "data", quiet)


def test_a_source_that_vanishes_is_named(tmp_path):
    folder = photographs(tmp_path / "pets")

    def vanish(split, done, total):
        (folder / "train" / "cat" / "0.JPEG").unlink(missing_ok=True)

    with pytest.raises(Mistake, match=r"0\.JPEG cannot be read: No such file"):
        prepare("my_pets", folder, tmp_path / "data", vanish)


def test_another_source_begins_anew(tmp_path, monkeypatch):
    one, _ = idx_folder(tmp_path / "one")
    other, written = idx_folder(tmp_path / "other")

    def stop(split, done, total):
        if split == "test":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("mnist", one, tmp_path / "data", stop)
    prepare("mnist", other, tmp_path / "data", quiet)
    train = read("mnist", tmp_path / "data", "train")
    np.testing.assert_array_equal(train[0]["image"][..., 0], written["train-images-idx3-ubyte"][0])


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
    "labels of text": (batch_of(labels=["1"] * SIX), "labels that are no whole numbers"),
    "labels of None": (batch_of(labels=[None] * SIX), "labels that are no whole numbers"),
    "labels of floats": (batch_of(labels=[0.7] * SIX), "labels that are no whole numbers"),
    "labels of pairs": (batch_of(labels=[[0, 1]] * SIX), "labels that are no whole numbers"),
    "labels of bytes": (batch_of(labels=b"\0" * SIX), "has no list of labels"),
    "labels of yes": (batch_of(labels=[True] * SIX), "labels that are no whole numbers"),
    "no labels": (batch_of(labels=None), "has no list of labels"),
    "images of floats": (batch_of(data=np.zeros((SIX, 3072))), "is no CIFAR file, or damaged"),
    "few names": (class_names(CLASSES[:9]), "batches.meta does not name 10 classes"),
    "many names": (class_names([*CLASSES, b"more"]), "batches.meta does not name 10 classes"),
    "no names": (class_names(None), "batches.meta does not name 10 classes"),
    "one name twice": (class_names(CLASSES[:9] * 2), "batches.meta does not name 10 classes"),
    "names that command": (class_names([*CLASSES[:9], b"\x1b[2J"]), "does not name 10 classes"),
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
    with pytest.raises(Mistake, match="data_batch_0 is over what the official archive holds"):
        prepare("cifar10", path, tmp_path / "data", quiet)
    folder, _ = idx_folder(tmp_path / "given")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10**8)))
    with pytest.raises(Mistake, match=r"of more values than the official file|Over 17,600 bytes"):
        prepare("mnist", folder, tmp_path / "data", quiet)


def test_a_cut_archive_is_named(tmp_path):
    path = as_tar(cifar10_folder(tmp_path), tmp_path / "cifar-10-python.tar.gz")
    cut(path)
    with pytest.raises(Mistake, match=r"cifar-10-python\.tar\.gz does not read to its end"):
        prepare("cifar10", path, tmp_path / "data", quiet)


def rewrite(name, change):
    def damage(folder):
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return damage


DAMAGED_IDX = {
    "cut gz": (lambda f: cut(f / "train-images-idx3-ubyte.gz"), "does not unpack to its end"),
    "missing": (
        lambda f: (f / "t10k-labels-idx1-ubyte.gz").unlink(),
        "has no t10k-labels-idx1-ubyte",
    ),
    "cut data": (
        rewrite("train-images-idx3-ubyte", lambda data: data[:-7]),
        "says 6 × 28 × 28 bytes and holds 4,697",
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
        (b"hello", r"train/dog/1\.JPEG does not open \(neither a JPEG nor a PNG"),
        (jpeg(form="GIF"), "does not open .neither a JPEG nor a PNG"),
    ):
        path.write_bytes(damage)
        with pytest.raises(Mistake, match=message):
            prepare("pets", folder, tmp_path / "data", quiet)
    path.write_bytes(whole)
    prepare("pets", folder, tmp_path / "data", quiet)  # mended, it goes on


def test_all_damaged_photographs_are_named_before_anything_is_written(tmp_path):
    folder = photographs(tmp_path / "pets")
    cut_file, text, png = (folder / "train" / "cat" / f"{name}.jpg" for name in ("a", "b", "c"))
    cut_file.write_bytes(jpeg((300, 300, 3))[:-2])
    text.write_bytes(b"hello")
    misnamed = bytearray(jpeg((64, 64, 3), form="PNG"))
    misnamed[len(misnamed) // 2] ^= 1
    png.write_bytes(misnamed)
    with pytest.raises(Mistake) as refused:
        prepare("pets", folder, tmp_path / "data", quiet)
    said = str(refused.value)
    assert all(f"train/cat/{name}.jpg" in said for name in "abc")
    assert not list((tmp_path / "data").rglob("*.incomplete"))


def test_damaged_metadata_is_no_loss(tmp_path):
    """Pillow warns of it, which is an error here."""
    folder = photographs(tmp_path / "pets")
    file = io.BytesIO()
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + b"\xff" * 30
    Image.fromarray(images(9, 9, 3)).save(file, "JPEG", exif=broken)
    (folder / "train" / "cat" / "x.jpg").write_bytes(file.getvalue())
    assert prepare("pets", folder, tmp_path / "data", quiet).counts["train"] == 5


@pytest.mark.parametrize("name", ["cifar10", "pets"])
def test_a_tar_that_holds_a_file_twice_is_refused(name, tmp_path):
    folder = cifar10_folder(tmp_path) if name == "cifar10" else photographs(tmp_path / "pets")
    path = as_tar(folder, tmp_path / "twice.tar")
    again = next(file for file in sorted(folder.rglob("*")) if file.is_file())
    with tarfile.open(path, "a") as archive:
        archive.add(again, again.relative_to(folder.parent))
    with pytest.raises(Mistake, match=f"{again.name} (twice|is there more than once)"):
        prepare(name, path, tmp_path / "data", quiet)


NO_IMAGES = {
    "another format": (
        "train/cat/x.webp",
        r"train/cat/x\.webp is no JPEG or PNG: convert or",
    ),
    "a folder in a class": ("train/cat/more/0.jpg", "train/cat/more is within a class's folder"),
    "an image in no class": ("train/0.jpg", r"train/0\.jpg is in no class's folder"),
    "a class of another format": ("train/cow/0.webp", r"train/cow/0\.webp is no JPEG or PNG"),
    "two validation splits": ("validation/cat/0.jpg", "has val and validation, which are one"),
}


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize(("name", "message"), NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_of_a_class_is_named(name, message, form, tmp_path):
    folder = photographs(tmp_path / "pets")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(jpeg())
    source = folder if form == "folder" else as_tar(folder, tmp_path / "pets.tar")
    if form == "tar" and "more" in name:
        message = "train/cat/more/0.jpg is within a class's folder"
    with pytest.raises(Mistake, match=message):
        prepare("pets", source, tmp_path / "data", quiet)


def test_an_empty_class_and_one_of_other_bytes_are_named(tmp_path):
    folder = photographs(tmp_path / "pets")
    (folder / "train" / "cow").mkdir()
    with pytest.raises(Mistake, match="train/cow has no image"):
        prepare("pets", folder, tmp_path / "data", quiet)
    (folder / "train" / "cow").rmdir()
    odd = os.fsencode(folder / "train") + b"/\xff"
    os.mkdir(odd)
    with open(odd + b"/0.jpg", "wb") as file:
        file.write(jpeg())
    (folder / "train" / "cat" / "1.JPEG").rename(os.fsdecode(odd + b"/1.jpg"))
    with pytest.raises(Mistake, match=r"^[^;]*of train is not named in UTF-8[^;]*$"):  # once
        prepare("pets", folder, tmp_path / "data", quiet)


def test_hidden_files_are_left_out_and_others_said(tmp_path, capsys):
    folder = photographs(tmp_path / "pets")
    for name in (".ipynb_checkpoints/0.jpg", "cat/._0.jpg", "cat/.DS_Store", "__MACOSX/0.jpg"):
        (folder / "train" / name).parent.mkdir(exist_ok=True)
        (folder / "train" / name).write_bytes(b"hidden")
    (folder / "train" / "dog" / "notes.txt").write_text("no image")
    written = prepare("pets", folder, tmp_path / "data", quiet)
    assert written.counts == {"train": 4, "validation": 4}
    assert "train/dog/notes.txt" in capsys.readouterr().err


def test_two_at_once_are_one(tmp_path):
    folder, _ = idx_folder(tmp_path / "given")
    refused = []

    def meanwhile(split, done, total):
        if not refused:
            with pytest.raises(Mistake, match="is being written by another process") as mistake:
                prepare("mnist", folder, tmp_path / "data", quiet)
            refused.append(mistake)

    assert not prepare("mnist", folder, tmp_path / "data", meanwhile).before
    assert refused


@pytest.mark.parametrize("note", ["", "[]", "{", "null", '{"source": 1}', "\0"])
def test_a_damaged_note_begins_anew(note, tmp_path):
    folder, _ = idx_folder(tmp_path / "given")

    def stop(split, done, total):
        if split == "test":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("mnist", folder, tmp_path / "data", stop)
    incomplete = tmp_path / "data" / "mnist" / "3.0.1.incomplete"
    (incomplete / "source.json").write_text(note)
    [shard] = incomplete.glob("mnist-train*")
    shard.write_bytes(b"of somebody else")
    prepare("mnist", folder, tmp_path / "data", quiet)
    assert len(TFDS("mnist", tmp_path / "data").load().train.labels) == SIX


def test_a_class_that_is_not_trained_on_is_named(tmp_path):
    folder = photographs(tmp_path / "pets")
    (folder / "val" / "cow").mkdir()
    (folder / "val" / "cow" / "0.JPEG").write_bytes(jpeg())
    with pytest.raises(Mistake, match="class cow of validation is not in train"):
        prepare("pets", folder, tmp_path / "data", quiet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar10", "--from", "nowhere"), "there is no nowhere: give the file or folder"),
        (("imagenette", "--from", "."), "imagenette is a data set of TensorFlow Datasets whose"),
        (("My-Set", "--from", "folder"), "'My-Set' is no name of a data set"),
        (("mine", "--from", "empty"), "has no images as train/CLASS/NAME.jpg"),
        (("imagenet2012", "--from", "empty"), "has no ILSVRC2012_img_train.tar"),
        (("mnist", "cifar10", "--from", "."), "give one name first, not 2"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_mistakes(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    assert main(["prepare", *arguments, "--data-dir", "data"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_members_of_a_tar_stay_in_the_data_set(tmp_path):
    """Whatever they are called: nothing is unpacked."""
    source = tmp_path / "given" / "evil.tar"
    source.parent.mkdir()
    photograph = jpeg()
    with tarfile.open(source, "w") as archive:
        for split in ("train", "val"):
            for folder in (f"../../evil/{split}/cat", f"/{split}/dog"):
                member = tarfile.TarInfo(f"{folder}/a.jpg")
                member.size = len(photograph)
                archive.addfile(member, io.BytesIO(photograph))
    prepare("evil", source, tmp_path / "inner" / "data", quiet)
    assert {path.name for path in tmp_path.iterdir()} == {"given", "inner"}
    assert {path.name for path in (tmp_path / "inner").iterdir()} == {"data"}
    assert {path.name for path in (tmp_path / "inner" / "data").iterdir()} == {"evil"}


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    folder, _ = idx_folder(tmp_path / "given")
    assert main(["prepare", "mnist", "--from", str(folder), "--data-dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"mnist: 6 train, 6 test examples in {tmp_path}/mnist/3.0.1",
        "In an experiment: TFDS('mnist', test='test'), num_examples=6",
    ]
