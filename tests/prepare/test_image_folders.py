"""Image folders and tars of them: what is taken, left out and refused."""

import io
import os
import tarfile

import pytest
from PIL import Image

from jbatch.errors import Mistake
from jbatch.prepare import prepare
from official_files import (
    as_tar,
    cifar10_folder,
    images,
    jpeg,
    photographs,
    quiet,
)


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
    with pytest.raises(Mistake, match=f"{again.name} (twice|is in the tar more than once)"):
        prepare(name, path, tmp_path / "data", quiet)


NO_IMAGES = {
    "another format": (
        "train/cat/x.webp",
        r"train/cat/x\.webp is no JPEG or PNG: convert or",
    ),
    "a folder in a class": ("train/cat/more/0.jpg", "train/cat/more .*: move its images up"),
    "an image in no class": ("train/0.jpg", r"train/0\.jpg is in no class's folder"),
    "a class of another format": ("train/cow/0.webp", r"train/cow/0\.webp is no JPEG or PNG"),
    "two validation splits": ("validation/cat/0.jpg", "val and validation.*: remove one"),
}


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize(("name", "message"), NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_of_a_class_is_named(name, message, form, tmp_path):
    folder = photographs(tmp_path / "pets")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(jpeg())
    source = folder if form == "folder" else as_tar(folder, tmp_path / "pets.tar")
    if form == "tar" and "more" in name:
        message = "train/cat/more/0.jpg .*: move its images up"
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
    with pytest.raises(Mistake, match=r"^[^;]* of train is not UTF-8: rename[^;]*$"):  # once
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


def test_a_class_that_is_not_trained_on_is_named(tmp_path):
    folder = photographs(tmp_path / "pets")
    (folder / "val" / "cow").mkdir()
    (folder / "val" / "cow" / "0.JPEG").write_bytes(jpeg())
    with pytest.raises(Mistake, match="class cow of validation is not in train"):
        prepare("pets", folder, tmp_path / "data", quiet)
