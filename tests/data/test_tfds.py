"""Data sets of TensorFlow Datasets by name, and what may be wrong with them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jbatch.data.image import tfds as reader
from jbatch.data.sources import TFDS, Generated
from jbatch.errors import Mistake

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


class Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepared by tfds itself, in its own way and order."""

    VERSION = tfds.core.Version("1.2.0")
    images = IMAGES

    def _info(self):
        label = tfds.features.ClassLabel(num_classes=3)
        features = {"image": tfds.features.Image(), "label": label}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._examples(range(5)), "test": self._examples(range(5, 7))}

    def _generate_examples(self):
        raise AssertionError

    def _examples(self, indices):
        for index in indices:
            yield index, {"image": png(self.images[index]), "label": index % 3}


@pytest.fixture
def data_dir(tmp_path):
    Pictures(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


def info_file(data_dir) -> Path:
    return data_dir / "pictures" / "1.2.0" / "dataset_info.json"


def test_what_tfds_prepared_is_read(data_dir):
    loaded = TFDS("pictures", data_dir).load()
    assert loaded.num_classes == 3
    found = {image.tobytes(): label for image, label in zip(*loaded.train.values(), strict=True)}
    assert found == {IMAGES[n].tobytes(): n % 3 for n in range(5)}
    assert loaded.test["image"].shape == (2, 5, 4, 3)
    assert loaded.test["label"].dtype == np.int32


def test_the_default_directory_is_tfds_own(data_dir, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(data_dir))
    assert len(TFDS("pictures").load().train["label"]) == 5


def test_where_it_lies_does_not_tell_runs_apart():
    assert TFDS("pictures", Path("a")) == TFDS("pictures", Path("b"))
    assert TFDS("pictures") != TFDS("pictures", test="validation")


def test_a_part_of_the_training_split_may_be_held_out(data_dir):
    whole = TFDS("pictures", data_dir).load()
    loaded = TFDS("pictures", data_dir, train="train[:3]", validation="train[3:]").load()
    for name in ("image", "label"):
        assert (loaded.train[name] == whole.train[name][:3]).all()
        assert (loaded.validation[name] == whole.train[name][3:]).all()
        assert (loaded.test[name] == whole.test[name]).all()
    with pytest.raises(Mistake, match="has no split 'held_out'"):
        TFDS("pictures", data_dir, validation="held_out").load()


def to_tfrecord(data_dir):
    path = info_file(data_dir)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fileFormat": "tfrecord"}))


def lose_a_file(data_dir):
    next(info_file(data_dir).parent.glob("*train.array_record*")).unlink()


def cut_a_file(data_dir):
    path = next(info_file(data_dir).parent.glob("*test.array_record*"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_two_sizes(data_dir):
    class Other(Pictures, skip_registration=True):
        name = "other"
        images = (*IMAGES[:4], IMAGES[4][:4], *IMAGES[5:])

    Other(data_dir=data_dir, file_format="array_record").download_and_prepare()


def test_a_part_of_a_split_is_as_much_of_the_whole(data_dir):
    whole = TFDS("pictures", data_dir).load()
    part = TFDS("pictures", data_dir, train="train[1:4]", test="test[50%:]").load()
    np.testing.assert_array_equal(part.train["image"], whole.train["image"][1:4])
    np.testing.assert_array_equal(part.train["label"], whole.train["label"][1:4])
    np.testing.assert_array_equal(part.test["image"], whole.test["image"][1:])


MISTAKES = {
    "name": (
        TFDS("nothing"),
        None,
        r"has no dataset nothing: write it with `jbatch pre",
    ),
    "version": (TFDS("pictures:9.9.9"), None, r"pictures cannot be opened \("),
    "split": (
        TFDS("pictures", test="validation"),
        None,
        r"split 'validation' .* has train, test: set",
    ),
    "slice": (
        TFDS("pictures", train="train[:x]"),
        None,
        r"no split 'train\[:x\]' .* has train, test: set",
    ),
    "long slice": (
        TFDS("pictures", train="train[:9]"),
        None,
        r"slice \[:9\] incompatible with 5 ex",
    ),
    "empty slice": (
        TFDS("pictures", train="train[2:2]"),
        None,
        r"train\[2:2\]' of pictures has no",
    ),
    "tfrecord": (
        TFDS("pictures"),
        to_tfrecord,
        r"`tfds convert_format --dataset_version_dir=.*1\.2",
    ),
    "file": (TFDS("pictures"), lose_a_file, r"pictures-train\.array_record-00000-of-00001 is miss"),
    "damage": (
        TFDS("pictures"),
        cut_a_file,
        r"test of .*1\.2\.0 is damaged between examples 0",
    ),
    "sizes": (TFDS("other"), of_two_sizes, r"images of \(.*\) and \(.*\): .* stream it with"),
}


@pytest.mark.parametrize(("data", "change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(data_dir, data, change, message):
    if change is not None:
        change(data_dir)
    with pytest.raises(Mistake, match=message):
        TFDS(data.name, data_dir, data.train, data.test).load()


@pytest.mark.parametrize("field", ["pythonClassName", "python_class_name"])
def test_a_set_that_names_code_of_its_own_runs_none(data_dir, field, monkeypatch):
    (data_dir / "evil.py").write_text("raise SystemExit('this ran')\n")
    monkeypatch.syspath_prepend(data_dir)
    path = data_dir / "pictures" / "1.2.0" / "features.json"
    features = json.loads(path.read_text())
    image = features["featuresDict"]["features"]["image"]
    del image["pythonClassName"]
    path.write_text(json.dumps(features | {"image": image | {field: "evil.Image"}}))
    with pytest.raises(Mistake, match=r"features\.json names evil\.Image, which is no fe"):
        TFDS("pictures", data_dir).load()


def test_a_legacy_set_that_names_code_of_its_own_runs_none(data_dir):
    path = data_dir / "pictures" / "1.2.0" / "features.json"
    path.write_text(json.dumps({"type": "evil.Image", "content": {}}))
    with pytest.raises(Mistake, match=r"features\.json names evil\.Image, which is no fe"):
        TFDS("pictures", data_dir).load()


def test_what_does_not_fit_is_refused(data_dir, monkeypatch):
    monkeypatch.setattr(reader, "MOST_BYTES", 299)
    with pytest.raises(Mistake, match=r"takes 300 B, but at most 299 B are kept .*: stream it"):
        TFDS("pictures", data_dir).load()


def test_generated_images_are_always_the_same():
    data = Generated(200, 50, (4, 5, 3), 10)
    one, other = data.load(), data.load()
    np.testing.assert_array_equal(one.train["image"], other.train["image"])
    (images, labels), (tested, expected) = one.train.values(), one.test.values()
    assert images.shape == (200, 4, 5, 3)
    assert np.bincount(expected).tolist() == [5] * 10
    # A class is what its examples have in common.
    means = [images[labels == n].mean(0) for n in range(10)]
    nearest = [np.argmin([np.square(image - mean).sum() for mean in means]) for image in tested]
    assert np.mean(nearest == expected) > 0.3  # 0.1 by chance
