"""Datasets of Grain, TensorFlow Datasets and PyTorch train as the same records in a list."""

import grain
import jax
import numpy as np
import optax
import pytest
import tensorflow_datasets as tfds

from jbatch import Coupling, Experiment, Functions, Source, fit
from jbatch.prepare import prepare
from jbatch.run.checkpoint import parameters_digest
from marks import slow
from official_files import quiet
from photographs import write_folder

COUNT, TEST = 24, 6
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT + TEST, 28, 28, 1)).astype(np.uint8)
RECORDS = [{"image": image, "label": n % 10} for n, image in enumerate(IMAGES)]


def scaled(record, rng):
    """Also of records whose numbers are tensors."""
    image = np.asarray(record["image"][:28, :28, :1], np.float32) / 255
    if rng is not None:
        image += rng.normal(0, 0.1, image.shape).astype(np.float32)
    return {"image": image.reshape(28, 28), "label": np.int32(record["label"])}


def init(key, example):
    return {"w": 0.01 * jax.random.normal(key, (28 * 28, 10))}


def loss(params, example, key):
    logits = example["image"].reshape(-1) @ params["w"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, example["label"])


def digest(train, test, directory, workers=0) -> str:
    """Of the parameters after two epochs."""
    run = fit(
        Experiment(
            Coupling(optax.constant_schedule(0.1), num_epochs=2, batch_size=6),
            task=Functions(init, loss),
            data=Source(train, test, scaled, num_classes=10, workers=workers),
            micro_batch=6,
        ),
        directory,
        devices=jax.devices()[:1],
    )
    return parameters_digest(run.state.params)


@pytest.fixture(scope="module")
def of_a_list(tmp_path_factory):
    return digest(RECORDS[:COUNT], RECORDS[COUNT:], tmp_path_factory.mktemp("list") / "run")


@pytest.mark.parametrize("workers", [0, slow(2)])
def test_a_map_dataset_of_grain(of_a_list, tmp_path, workers):
    def named(pair):
        return dict(zip(("image", "label"), pair, strict=True))

    pairs = [(record["image"], record["label"]) for record in RECORDS]
    train, test = (grain.MapDataset.source(part).map(named) for part in (pairs[:24], pairs[24:]))
    assert digest(train, test, tmp_path / "run", workers) == of_a_list


@pytest.mark.parametrize("workers", [0, slow(2)])
def test_a_map_style_dataset_of_pytorch(of_a_list, tmp_path, workers):
    torch = pytest.importorskip("torch")

    class Pictures(torch.utils.data.Dataset):
        def __init__(self, records):
            self.images = torch.from_numpy(np.stack([record["image"] for record in records]))
            self.labels = torch.tensor([record["label"] for record in records])

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return {"image": self.images[index], "label": self.labels[index]}

    train, test = Pictures(RECORDS[:COUNT]), Pictures(RECORDS[COUNT:])
    assert digest(train, test, tmp_path / "run", workers) == of_a_list
    halves = torch.utils.data.random_split(train, [12, 12], torch.Generator().manual_seed(0))
    joined = torch.utils.data.ConcatDataset(halves)
    both = [joined[index] for index in range(COUNT)]
    assert digest(joined, test, tmp_path / "joined", workers) == (
        digest(both, test, tmp_path / "both")
    )


@pytest.mark.parametrize("workers", [0, slow(2)])
def test_a_data_source_of_tensorflow_datasets(tmp_path, workers):
    """It decodes JPEG files of several sizes."""
    prepare("little", write_folder(tmp_path / "files", 12, 4), tmp_path / "data", quiet)
    train, test = (
        tfds.data_source("little", split=split, data_dir=tmp_path / "data", download=False)
        for split in ("train", "validation")
    )
    records = [[split[index] for index in range(len(split))] for split in (train, test)]
    assert digest(train, test, tmp_path / "run", workers) == digest(*records, tmp_path / "list")
