"""Reading ImageNet (ILSVRC2012) from its official tars, or from an image folder."""

from collections.abc import Iterator
from pathlib import Path

from jbatch.data.image import folder as image_folder
from jbatch.data.image.folder import File, reader, tar_members
from jbatch.errors import Mistake
from jbatch.files import read_whole
from jbatch.prepare.examples import Read, check_count
from jbatch.prepare.image_folder import examples

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
LABELS = "validation_labels.txt"  # a synset (n01440764) per image, in order of the images' names
COUNTS = {"train": 1_281_167, "validation": 50_000}


def read(source: Path) -> Read:
    """Read a folder with both tars, or with train/SYNSET/* and val/SYNSET/*.

    The validation tar has no labels. They come from `validation_labels.txt` beside it, or else from
    the list in TensorFlow Datasets.
    """
    if not source.is_dir():
        raise Mistake(f"{source} is a file: give the folder that holds {TRAIN} and {VALIDATION}")
    if (source / "train").is_dir():
        files = image_folder.files(source)
    else:
        for name in (TRAIN, VALIDATION):
            if not (source / name).exists():
                raise Mistake(
                    f"{source} has no {name}: give the folder that holds both official tars"
                )
        files = {
            "train": list(_train(source / TRAIN)),
            "validation": list(_validation(source / VALIDATION, _labels(source))),
        }
    for split, count in COUNTS.items():
        check_count(f"{source}: {split}", len(files.get(split, ())), count)
    return Read({split: examples(files[split], named=True) for split in COUNTS}, {})


def _train(path: Path) -> Iterator[File]:
    """List the images of the training tar, which holds a tar for each synset."""
    changed = path.stat().st_mtime_ns
    for outer, start in tar_members(path, 0):
        synset = Path(outer.name).stem
        for member, place in tar_members(path, start):
            read = reader(path, place, member.size)
            yield File("train", synset, member.name, member.size, changed, read)


def _validation(path: Path, labels: list[str]) -> Iterator[File]:
    members = sorted(tar_members(path, 0), key=lambda found: found[0].name)
    check_count(path, len(members), len(labels))
    changed = path.stat().st_mtime_ns
    for (member, place), label in zip(members, labels, strict=True):
        read = reader(path, place, member.size)
        yield File("validation", label, member.name, member.size, changed, read)


def _labels(folder: Path) -> list[str]:
    import tensorflow_datasets as tfds

    path = folder / LABELS
    if not path.exists():
        path = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt")
    try:
        return read_whole(Path(path)).decode().split()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{path} cannot be read ({error}): download it again") from error
