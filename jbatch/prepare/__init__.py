"""Turning official files and image folders into TensorFlow Datasets in ArrayRecord."""

import logging
from collections.abc import Callable
from pathlib import Path

from jbatch.errors import Mistake, meant
from jbatch.files import expanded
from jbatch.prepare import cifar, idx, image_folder, imagenet
from jbatch.prepare.examples import Read
from jbatch.prepare.shards import Progress, Written, write

READERS: dict[str, Callable[[Path], Read]] = {  # by official name; others are image folders
    "cifar10": cifar.read_cifar10,
    "cifar100": cifar.read_cifar100,
    "mnist": idx.read,
    "fashion_mnist": idx.read,
    "kmnist": idx.read,
    "imagenet2012": imagenet.read,
}


def prepare(name: str, source: Path, data_dir: Path | None, progress: Progress) -> Written:
    """Write the files at `source` as the dataset `name`, to be read by `tfds.data_source`.

    Args:
        name: an official name of TensorFlow Datasets that `READERS` has, or your own name for an
            image folder.
        source: the official file, or the folder that holds the files.
        data_dir: TensorFlow Datasets' directory; None for its default.
        progress: called now and then with (split, examples done, examples in all).

    Returns:
        The dataset's directory, its number of examples, and whether it was complete before.

    Raises:
        Mistake: if a file is missing or damaged, or another dataset already has this name. At most
            an `.incomplete` directory is left; the same call resumes from it.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    import tensorflow_datasets as tfds

    source = expanded(source)
    data_dir = data_dir and expanded(data_dir)
    if not source.exists():
        raise Mistake(f"{source} does not exist: give the file or folder that holds {name}")
    if not (source.is_dir() or source.is_file()):
        raise Mistake(f"{source} is no ordinary file or folder: give one that holds {name}")
    official = name in tfds.list_builders(with_community_datasets=False)
    if official and name not in READERS:
        raise Mistake(
            f"{name} is a dataset of TensorFlow Datasets, and jbatch reads the official files of "
            f"{', '.join(READERS)} only: give an image folder another name"
        )
    if name in READERS:
        builder = tfds.builder_cls(name)(data_dir=data_dir, file_format="array_record")
        found = READERS[name](source)
        for feature, names in found.class_names.items():
            builder.info.features[feature].names = names
    else:
        try:
            found = image_folder.read(source)
        except Mistake as mistake:
            if not (near := meant(name, READERS)):
                raise
            raise Mistake(f"{mistake}. {name} is no official name{near}") from mistake
        builder = image_folder.builder(name, found.class_names["label"], data_dir)
    return write(builder, found, source, progress)
