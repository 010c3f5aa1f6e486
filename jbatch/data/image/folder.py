"""Finding images at train/<class>/*, val/<class>/* … in a folder or a tar of it."""

import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from jbatch.data.image.picture import OTHER_IMAGES, SUFFIXES
from jbatch.errors import Mistake, said
from jbatch.files import open_ordinary
from jbatch.messages import tell
from jbatch.text import listed

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


HIDDEN = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # of macOS and Windows, beside dotfiles


MOST_NAMED = 10  # problems in one message


class File(NamedTuple):
    """An image: where it is and how to read it."""

    split: str
    label: str
    name: str
    num_bytes: int
    changed: int  # modification time in nanoseconds; for a member of a tar, the tar's
    read: Callable[..., bytes]  # (start, size) → `size` bytes from `start`


class Found(NamedTuple):
    """Something found below a split: an image, a problem, or a file to skip."""

    file: File | None
    problem: str = ""
    beside: str = ""  # name of a skipped file


def class_names(source: Path, by_split: Mapping[str, list[File]]) -> list[str]:
    """List the classes in order of name.

    Raises:
        Mistake: if another split has a class that train lacks.
    """
    names = sorted({file.label for file in by_split["train"]})
    for split, found in by_split.items():
        unknown = sorted({file.label for file in found} - set(names))
        if unknown:
            raise Mistake(
                f"{source}: class {unknown[0]} of {split} is not in train: add it to train, or "
                f"remove it from {split}"
            )
    return names


def files(source: Path) -> dict[str, list[File]]:
    """List the images of each split.

    Hidden files are skipped in silence: names that begin with a dot, and files of macOS and
    Windows. Other files that are no images are skipped with a warning. Images of other formats or
    in other places are an error: a class that was overlooked would shift the numbers of the classes
    after it.

    Raises:
        Mistake: if train has no images, or an image has another format or is in another place.
    """
    by_split: dict[str, list[File]] = defaultdict(list)
    problems: list[str] = []
    beside: list[str] = []
    for found in _in_folder(source) if source.is_dir() else _in_tar(source):
        if found.problem:
            if found.problem not in problems[-1:]:  # names a bad folder once, not once per image
                problems.append(found.problem)
        elif found.file:
            by_split[found.file.split].append(found.file)
        else:
            beside.append(found.beside)
    if problems:
        raise Mistake(f"{source}: {listed(problems, MOST_NAMED)}")
    if beside:
        names = listed(beside, MOST_NAMED)
        tell(f"jbatch: {source}: skipped files that have no image's name: {names}")
    if "train" not in by_split:
        raise Mistake(
            f"{source} has no images at train/CLASS/NAME.jpg: give the folder that holds train, or "
            "an uncompressed tar of it"
        )
    return by_split


def _in_folder(folder: Path) -> Iterator[Found]:
    splits = [name for name in sorted(SPLITS) if (folder / name).is_dir()]
    if {"val", "validation"} <= set(splits):
        raise Mistake(f"{folder} has both val and validation, one split to jbatch: remove one")
    for split in splits:
        for label in _seen(folder / split):
            if not label.is_dir():
                yield _other(label.relative_to(folder))
                continue
            empty = True
            for path in _seen(label):
                empty, place = False, path.relative_to(folder)
                if path.is_dir() or path.suffix.lower() not in SUFFIXES:
                    yield _other(place, folder=path.is_dir())
                    continue
                try:
                    state = path.stat()
                except OSError as error:  # such as a broken link
                    yield Found(
                        None, f"{place} cannot be read ({error.strerror}): restore or remove it"
                    )
                    continue
                read = reader(path, 0, state.st_size)
                yield _image(place, state.st_size, state.st_mtime_ns, read)
            if empty:
                yield Found(None, f"{label.relative_to(folder)} has no images: remove that folder")


def _seen(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not _hidden(path.name))


def _hidden(name: str) -> bool:
    return name in HIDDEN or (name.startswith(".") and name not in (".", ".."))


def _image(place: PurePath, size: int, changed: int, read: Callable[..., bytes]) -> Found:
    """Describe an image at train/CLASS/NAME."""
    split, label, _ = place.parts
    try:
        label.encode()
    except UnicodeEncodeError:
        return Found(None, f"the name of folder {label!r} of {split} is not UTF-8: rename it")
    if label in (".", ".."):
        return Found(None, f"{place} is in no class's folder: move or remove it")
    return Found(File(SPLITS[split], label, str(place), size, changed, read))


def _other(place: PurePath, folder: bool = False) -> Found:
    """Describe a file or folder that is no image at train/CLASS/NAME."""
    fix = "move or remove it"
    if folder or len(place.parts) > 3:
        what, fix = "is inside a class's folder", "move its images up, or remove it"
    elif place.suffix.lower() in OTHER_IMAGES:
        what, fix = "is no JPEG or PNG", "convert or remove it"
    elif len(place.parts) < 3 and place.suffix.lower() in SUFFIXES:
        what = "is in no class's folder"
    else:
        return Found(None, beside=str(place))
    return Found(None, f"{place} {what}: {fix}")


def _in_tar(path: Path) -> Iterator[Found]:
    found, changed = [], path.stat().st_mtime_ns
    for member, start in tar_members(path, 0):
        parts = PurePosixPath(member.name).parts
        begin = next((index for index, part in enumerate(parts) if part in SPLITS), len(parts))
        place = PurePosixPath(*parts[begin:])
        if not parts[begin:] or any(map(_hidden, parts)):
            continue
        if len(place.parts) != 3 or place.suffix.lower() not in SUFFIXES:
            found.append((member.name, _other(place)))
            continue
        read = reader(path, start, member.size)
        found.append((member.name, _image(place, member.size, changed, read)))
    splits = {each.file.name.split("/")[0] for _, each in found if each.file}
    places = Counter(each.file.name for _, each in found if each.file)
    if {"val", "validation"} <= splits:
        raise Mistake(f"{path} has both val and validation, one split to jbatch: remove one")
    for name, each in sorted(found, key=lambda pair: pair[0]):
        if each.file and places[each.file.name] > 1:
            each = Found(None, f"{name} is in the tar more than once: make the tar again")
        yield each


def tar_members(path: Path, offset: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """List (file, where its bytes start in `path`) for the tar that begins at `offset` of `path`.

    Raises:
        Mistake: if the tar is compressed, cut off or damaged.
    """
    try:
        with open_ordinary(path) as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.isfile():
                        if member.issparse():  # it can claim gigabytes that it does not hold
                            raise Mistake(
                                f"{path}: {member.name} is a sparse file: make the tar again"
                            )
                        # Counted from the start of the file, not of the tar.
                        yield member, member.offset_data
                # Python takes a damaged header for the end of the tar.
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError(f"no member and no end at byte {archive.offset:,}")
    except (tarfile.TarError, OSError, ValueError, UnicodeError) as error:
        packed = path.suffix in {".gz", ".tgz", ".xz", ".bz2"}
        fix = "unpack it to a plain tar first" if packed else "download it again"
        raise Mistake(f"{path} cannot be read as a tar ({said(error)}): {fix}") from error


def reader(path: Path, start: int, size: int) -> Callable[..., bytes]:
    """Make a function that reads all or some of the `size` bytes that begin at `start`."""

    def read(first: int = 0, count: int = size) -> bytes:
        wanted = min(count, size - first)
        with open_ordinary(path) as file:
            file.seek(start + first)
            data = file.read(wanted)
        if len(data) != wanted:
            raise Mistake(f"{path} ends too early: download it again")
        return data

    return read
