"""Make the harness's MNIST from the four official files, without a download.

    python -m benchmarks.algoperf.mnist FOLDER DATA_DIR

FOLDER holds train-images-idx3-ubyte.gz and the other three. The harness reads by TensorFlow, which
cannot read the ArrayRecord files that `jbatch prepare` writes.
"""

import gzip
import sys
import tempfile
from pathlib import Path
from unittest import mock

import tensorflow_datasets as tfds


def main(folder: Path, data_dir: Path) -> None:
    """Write DATA_DIR/mnist by the builder of TensorFlow Datasets."""
    with tempfile.TemporaryDirectory() as unpacked:

        def local(_, urls: dict[str, str]) -> dict[str, Path]:
            paths = {}
            for name, url in urls.items():
                official = folder / Path(url).name
                paths[name] = Path(unpacked) / official.stem
                paths[name].write_bytes(gzip.decompress(official.read_bytes()))
            return paths

        manager = tfds.download.DownloadManager
        with mock.patch.object(manager, "download_and_extract", local):
            tfds.builder("mnist", data_dir=data_dir).download_and_prepare()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
