"""Writing a dataset in the format of TensorFlow Datasets, file by file."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jbatch.distributed.preemption import saved_in
from jbatch.errors import Mistake
from jbatch.files import sync_folder, write_whole
from jbatch.json_lines import read_json
from jbatch.prepare.examples import Examples, Read
from jbatch.text import byte_size, listed

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

EVERY = 1000  # examples between reports of progress
NOTE = "source.json"  # names the source of the written files
CHECKED = "checked"  # exists once all examples are checked
MOST_NAMED = 20  # problems in one message

Progress = Callable[[str, int, int], object]  # (split, examples done, examples in all)


class Written(NamedTuple):
    """A dataset on disk."""

    directory: Path
    counts: dict[str, int]  # examples of each split
    before: bool  # whether it was complete before this call


def write(
    builder: "tfds.core.DatasetBuilder", found: Read, source: Path, progress: Progress
) -> Written:
    """Write the examples that a reader found to the builder's directory.

    All examples are checked before the first is written. The files go to a directory beside it that
    ends in `.incomplete`, and each gets its final name once it is complete. A later call with the
    same source keeps these files and resumes. At the end the directory gets its final name.

    Raises:
        Mistake: if the source is damaged, or the directory already holds another source's dataset.
    """
    directory, identity = Path(builder.data_dir), _identity(source, found)
    counts = {name: examples.count for name, examples in found.splits.items()}
    if directory.exists():
        if _note(directory) == identity:  # also if a kill came after the last rename
            return Written(directory, counts, before=True)
        raise Mistake(f"{directory} already exists: use it, remove it, or give another --data-dir")
    incomplete = directory.with_name(directory.name + ".incomplete")
    with _alone(incomplete):
        _begin(incomplete, identity)
        if not (incomplete / CHECKED).exists():
            try:
                _check(found, progress)
            except Mistake:
                shutil.rmtree(incomplete)  # it holds only the note
                raise
            write_whole(incomplete / CHECKED, "")
        splits = [
            _split(builder, name, examples, incomplete, directory, progress)
            for name, examples in found.splits.items()
        ]
        import tensorflow_datasets as tfds

        builder.info.set_splits(tfds.core.splits.SplitDict(splits))
        builder.info.write_to_directory(incomplete)
        (incomplete / CHECKED).unlink()
        sync_folder(incomplete)
        incomplete.rename(directory)  # with the note, so that a later call knows its source
        sync_folder(directory.parent)
    return Written(directory, counts, before=False)


def _identity(source: Path, found: Read) -> dict[str, Any]:
    """Describe a source, so that another source, or a changed one, is recognized."""
    splits = {
        name: [part.count, part.num_bytes, part.digest] for name, part in found.splits.items()
    }
    names = {name: list(names) for name, names in found.class_names.items()}
    return {"source": str(source.resolve()), "splits": splits, "classes": names}


def _note(directory: Path) -> dict[str, Any] | None:
    """Read which source the files in a directory come from; None if unknown."""
    try:
        note: dict[str, Any] = read_json(directory / NOTE, dict)
    except Mistake:
        return None
    return note


@contextmanager
def _alone(incomplete: Path) -> Iterator[None]:
    """Create the directory and lock it, so that only this process writes there.

    Raises:
        Mistake: if it cannot be created, or another process holds the lock.
    """
    try:
        incomplete.mkdir(parents=True, exist_ok=True)
        # O_NOFOLLOW: a link may lead to other files of the user.
        folder = os.open(incomplete, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise Mistake(
            f"{incomplete} cannot be created ({error.strerror}): give another --data-dir"
        ) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Mistake(
            f"{incomplete} is being written by another process: wait for it, or give another "
            "--data-dir"
        ) from None
    finally:
        os.close(folder)


def _begin(incomplete: Path, identity: dict[str, Any]) -> None:
    """Keep the files of an earlier try from the same source; delete any others."""
    if _note(incomplete) != identity:
        for path in incomplete.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    write_whole(incomplete / NOTE, json.dumps(identity))
    # If the command is stopped from here on, the same command resumes.
    saved_in(incomplete / NOTE)


def _check(found: Read, progress: Progress) -> None:
    """Check all examples that may be damaged.

    Raises:
        Mistake: names the damaged ones.
    """
    problems = []
    for name, examples in found.splits.items():
        if not examples.problem:
            continue
        for index in range(examples.count):
            if index % EVERY == 0:
                progress(f"{name} (checked)", index, examples.count)
            if problem := examples.problem(index):
                problems.append(problem)
        progress(f"{name} (checked)", examples.count, examples.count)
    if problems:
        raise Mistake(listed(problems, MOST_NAMED))


def _split(
    builder: "tfds.core.DatasetBuilder",
    name: str,
    examples: Examples,
    incomplete: Path,
    directory: Path,
    progress: Progress,
) -> "tfds.core.SplitInfo":
    """Write a split and return the builder's description of it."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=incomplete,
        dataset_name=builder.name,
        split=name,
        filetype_suffix="array_record",
    )
    lengths, num_bytes = _write_split(builder, name, examples, template, progress)
    return tfds.core.SplitInfo(
        name=name,
        shard_lengths=lengths,
        num_bytes=num_bytes,
        filename_template=template.replace(data_dir=directory),
    )


def _write_split(
    builder: "tfds.core.DatasetBuilder",
    name: str,
    examples: Examples,
    template: "tfds.core.ShardedFileTemplate",
    progress: Progress,
) -> tuple[list[int], int]:
    """Write a split; return (examples in each file, bytes of all files)."""
    from tensorflow_datasets.core import example_serializer, file_adapters
    from tensorflow_datasets.core.utils import shard_utils

    features = builder.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    shards = shard_utils.ShardConfig.calculate_number_shards(examples.num_bytes, examples.count)
    ends = shard_utils.get_shard_boundaries(examples.count, shards)
    starts = [0, *ends[:-1]]

    def serialized(start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for index in range(start, end):
            if index % EVERY == 0:
                progress(name, index, examples.count)
            try:
                example = examples.example(index)
            except OSError as error:  # Pillow's too; it names no file
                where = error.filename or f"{name} example {index:,}"
                raise Mistake(
                    f"{where} cannot be read ({error.strerror or error}): restore or remove it"
                ) from error
            encoded = features.encode_example(example)
            yield index, serializer.serialize_example(encoded)

    num_bytes = 0
    for shard, (start, end) in enumerate(zip(starts, ends, strict=True)):
        path = Path(template.sharded_filepath(shard_index=shard, num_shards=shards))
        if not path.exists():
            temporary = path.with_name(path.name + ".tmp")
            try:
                adapter = file_adapters.ArrayRecordFileAdapter
                adapter.write_examples(temporary, serialized(start, end))
            except (OSError, RuntimeError) as error:  # both from ArrayRecord's writer
                temporary.unlink(missing_ok=True)
                raise Mistake(
                    f"{temporary} cannot be written ({error}). The split {name} takes about "
                    f"{byte_size(examples.num_bytes)}: free some space, then run the same "
                    "command to resume"
                ) from error
            os.replace(temporary, path)
        num_bytes += path.stat().st_size
    progress(name, examples.count, examples.count)
    return [end - start for start, end in zip(starts, ends, strict=True)], num_bytes
