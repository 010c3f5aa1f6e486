"""A validation split of real files: TFDS in memory and streamed, and image folders."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jbatch import (
    MLP,
    TFDS,
    Classify,
    Coupling,
    Experiment,
    ImageFolder,
    Mistake,
    Photographs,
    fit,
)
from jbatch.data.open import load
from jbatch.prepare import prepare
from jbatch.run.metrics import read_metrics
from marks import slow
from official_files import quiet
from photographs import CLASSES, encoded, picture

TRAIN, VALIDATION, TEST = 12, 5, 4


def write(path: Path, split: str, numbers: range, size=(20, 20)) -> None:
    for number in numbers:
        file = path / split / CLASSES[number % 3] / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(number, *size), "PNG"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train/, val/ and test/, each with all classes."""
    path = tmp_path_factory.mktemp("pictures") / "folder"
    for split, first, count in (("train", 0, TRAIN), ("val", 100, VALIDATION), ("test", 200, TEST)):
        write(path, split, range(first, first + count))
    return path


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    """The same as a dataset of TensorFlow Datasets, with the splits train and validation."""
    path = tmp_path_factory.mktemp("prepared")
    prepare("pictures", folder, path, quiet)
    return str(path)


def experiment(data, normalize="standardize") -> Experiment:
    return Experiment(
        Coupling(optax.constant_schedule(0.05), num_epochs=1, batch_size=4),
        task=Classify(MLP((8,)), normalize=normalize),
        data=data,
        updates_per_call=1,
        micro_batch=4,
    )


def lines(data, directory) -> dict[tuple[str, int], dict[str, float]]:
    """(kind, epoch) → the scores of an evaluation."""
    fit(experiment(data), directory, devices=jax.devices()[:1])
    return {
        (line["kind"], line["epoch"]): {
            name: line[name] for name in ("loss", "accuracy", "num_examples")
        }
        for line in read_metrics(directory / "metrics.jsonl")
        if line["kind"] in ("eval", "test")
    }


def assert_validated(make, held_out, directory):
    """The scores are those of runs that have either split for their test set."""
    both = lines(make(test="test", validation=held_out), directory / "both")
    assert list(both) == [("test", 0), ("eval", 0), ("test", 1), ("eval", 1)]
    for kind, split in {"test": "test", "eval": held_out}.items():
        alone = lines(make(test=split), directory / kind)
        for epoch in (0, 1):
            assert both[kind, epoch] == alone["eval", epoch]
    assert both["test", 0]["num_examples"] == TEST
    return both


def test_an_image_folder(folder, tmp_path):
    def make(**splits):
        return Photographs(ImageFolder(folder, **splits), image_size=8, workers=0)

    both = assert_validated(make, "validation", tmp_path)
    assert both["eval", 0]["num_examples"] == VALIDATION


def test_a_split_of_an_image_folder_that_is_missing_is_named(folder):
    missing = ImageFolder(folder, test="test", validation="held")
    with pytest.raises(Mistake, match=r"has images of .*, but none of held: set train, test and "):
        load(Photographs(missing, image_size=8))


def parts(prepared, stream=False, **splits):
    """The training split in two parts, and the other one for the test set."""
    named = {"test": "validation", "validation": "train[75%:]"}
    chosen = {name: named.get(split, split) for name, split in splits.items()}
    data = TFDS("pictures", prepared, train="train[:75%]", **chosen)
    return Photographs(data, image_size=8, workers=0) if stream else data


@pytest.mark.parametrize("stream", [slow(False), True])
def test_a_part_of_a_split_of_tfds(prepared, tmp_path, stream):
    def make(**splits):
        return parts(prepared, stream, **splits)

    both = lines(make(test="test", validation="validation"), tmp_path / "both")
    assert both["test", 0]["num_examples"] == VALIDATION  # the folder val
    assert both["eval", 0]["num_examples"] == TRAIN // 4
    alone = lines(make(test="validation"), tmp_path / "alone")
    for epoch in (0, 1):
        assert both["eval", epoch] == alone["eval", epoch]


def test_what_is_held_out_is_no_part_of_the_training_set(prepared):
    data = load(parts(prepared, test="test", validation="validation"))
    splits = (data.dataset.train, data.validation().dataset.test, data.dataset.test)
    images = [{image.tobytes() for image in split["image"]} for split in splits]
    assert [len(found) for found in images] == [9, 3, 5]
    assert len(set.union(*images)) == 17
    assert set.union(*images[:2]) == {picture(number, 20, 20).tobytes() for number in range(TRAIN)}
    assert np.unique(splits[1]["label"]).max() < 3
