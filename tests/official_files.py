"""Small files in the official forms, for the tests of `prepare`."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jbatch.prepare import cifar, imagenet

RNG = np.random.default_rng(0)


SIX = 6  # examples in each file


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
