"""From people's files to a data set that tfds.data_source reads, and what is wrong with the files.

The files are made here, small, in the official forms; the official counts are made small with them.
"""

import io
import pickle
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jbatch.cli import main
from jbatch.data.sources import TFDS
from jbatch.errors import Mistake
from jbatch.prepare import imagenet, prepare
from jbatch.prepare.image_folder import checked
from official_files import (
    SIX,
    as_tar,
    cifar10_folder,
    idx_folder,
    imagenet_tars,
    images,
    jpeg,
    photographs,
    quiet,
    read,
    unpickled,
)


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


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("gz", [True, False])
def test_idx(tmp_path, name, gz):
    folder, written = idx_folder(tmp_path / "given", gz)
    prepare(name, folder, tmp_path / "data", quiet)
    test = read(name, tmp_path / "data", "test")
    assert len(test) == SIX
    np.testing.assert_array_equal(test[4]["image"][..., 0], written["t10k-images-idx3-ubyte"][4])
    assert test[4]["label"] == written["t10k-labels-idx1-ubyte"][4]


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
    assert loaded.train["image"].shape == (4, 20, 30, 3)
    assert loaded.num_classes == 2


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
    assert len(TFDS("mnist", tmp_path / "data").load().train["label"]) == SIX
    # The same again is complete, as where a kill came after the last of it; another is refused.
    assert prepare("mnist", folder, tmp_path / "data", quiet).before
    other, _ = idx_folder(tmp_path / "other")
    with pytest.raises(Mistake, match=r"3\.0\.1 already exists: use it, remove"):
        prepare("mnist", other, tmp_path / "data", quiet)


def test_what_cannot_be_written_leaves_no_half_file(tmp_path, monkeypatch):
    folder, _ = idx_folder(tmp_path / "given")

    def full(path, _):
        path.write_bytes(b"half")
        raise RuntimeError("write() failed: No space left on device")  # as ArrayRecord's writer

    adapter = "tensorflow_datasets.core.file_adapters.ArrayRecordFileAdapter.write_examples"
    with monkeypatch.context() as patched:
        patched.setattr(adapter, full)
        with pytest.raises(Mistake, match=r"No space left on device\).* takes about \S+ KiB: free"):
            prepare("mnist", folder, tmp_path / "data", quiet)
    assert not list(tmp_path.rglob("*.tmp"))
    prepare("mnist", folder, tmp_path / "data", quiet)


def test_a_source_that_vanishes_is_named(tmp_path):
    folder = photographs(tmp_path / "pets")

    def vanish(split, done, total):
        (folder / "train" / "cat" / "0.JPEG").unlink(missing_ok=True)

    with pytest.raises(Mistake, match=r"0\.JPEG cannot be read \(No such file"):
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
    assert len(TFDS("mnist", tmp_path / "data").load().train["label"]) == SIX


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar10", "--from", "nowhere"), "nowhere does not exist: give the file or"),
        (("imagenette", "--from", "."), "imagenet2012 only: give an image folder another name"),
        (("My-Set", "--from", "folder"), "'My-Set' is no valid name of a dataset: use lower-case"),
        (("mine", "--from", "empty"), "has no images at train/CLASS/NAME.jpg: give"),
        (("imagenet2012", "--from", "empty"), "has no ILSVRC2012_img_train.tar"),
        (("mnist", "cifar10", "--from", "."), "give one dataset name first, not 2"),
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
