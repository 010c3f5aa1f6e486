"""Writing a data set as TensorFlow Datasets keeps it, file by file."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from jbatch.distributed.preemption import saved_in
from jbatch.errors import Mistake
from jbatch.files import sync_folder, write_whole
from jbatch.json_lines import read_json
from jbatch.prepare.examples import Examples, Read

EVERY = 1000  # examples between reports of progress
NOTE = "source.json"  # whose the files are
CHECKED = "checked"  # there when all examples have been looked at
MOST_NAMED = 20  # of what is wrong


class Written(NamedTuple):
    """A data set that is there."""

    directory: Path
    counts: dict[str, int]  # examples of each split
    before: bool  # whether it was complete already


def write(builder, found: Read, source: Path, progress: Callable) -> Written:
    """Write what was found to the builder's directory.

    The files go to a directory beside it that ends in `.incomplete`, each under its own name only
    when it is whole; a later call with the same source keeps those, and goes on. At the end that
    directory takes the final name. All examples are looked at before the first is written.

    Raises:
        Mistake: for what is wrong with the source, or if the directory is there of another one.
    """
    directory, identity = Path(builder.data_dir), _identity(source, found)
    counts = {name: examples.count for name, examples in found.splits.items()}
    if directory.exists():
        if _note(directory) == identity:  # also if it was killed in its last moment
            return Written(directory, counts, before=True)
        raise Mistake(
            f"{directory} is there already: use it, remove it, or give another --data-dir"
        )
    incomplete = directory.with_name(directory.name + ".incomplete")
    with _alone(incomplete):
        _begin(incomplete, identity)
        if not (incomplete / CHECKED).exists():
            try:
                _check(found, progress)
            except Mistake:
                shutil.rmtree(incomplete)  # which holds its note alone
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
        incomplete.rename(directory)  # with its note, by which another call knows it
        sync_folder(directory.parent)
    return Written(directory, counts, before=False)


def _identity(source: Path, found: Read) -> dict:
    """What tells a source from others, and from itself after a change."""
    splits = {
        name: [part.count, part.num_bytes, part.digest] for name, part in found.splits.items()
    }
    names = {name: list(names) for name, names in found.class_names.items()}
    return {"source": str(source.resolve()), "splits": splits, "classes": names}


def _note(directory: Path) -> dict | None:
    """Whose the files in a directory are; None if that is not known."""
    try:
        return read_json(directory / NOTE, dict)
    except Mistake:
        return None


@contextmanager
def _alone(incomplete: Path) -> Iterator[None]:
    """While this process alone writes there; the directory is made for it."""
    try:
        incomplete.mkdir(parents=True, exist_ok=True)
        # A link would be to somebody's other files.
        folder = os.open(incomplete, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise Mistake(f"cannot make {incomplete}: {error.strerror}") from error
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


def _begin(incomplete: Path, identity: dict) -> None:
    """Keep the files of an earlier try if it was of the same source, or else begin anew."""
    if _note(incomplete) != identity:
        for path in incomplete.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    write_whole(incomplete / NOTE, json.dumps(identity))
    # A command that is asked to stop from here on goes on with the same source.
    saved_in(incomplete / NOTE)


def _check(found: Read, progress: Callable) -> None:
    """Look at all examples of which something may be wrong; Mistake that names what is."""
    problems = []
    for name, examples in found.splits.items():
        for index in range(examples.count if examples.problem else 0):
            if index % EVERY == 0:
                progress(f"{name} (looked at)", index, examples.count)
            if problem := examples.problem(index):
                problems.append(problem)
        if examples.problem:
            progress(f"{name} (looked at)", examples.count, examples.count)
    if problems:
        more = f"; and {len(problems) - MOST_NAMED:,} more" if len(problems) > MOST_NAMED else ""
        raise Mistake("; ".join(problems[:MOST_NAMED]) + more)


def _split(builder, name: str, examples: Examples, incomplete: Path, directory: Path, progress):
    """Write a split; what the builder is told of it."""
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
    builder, name: str, examples: Examples, template, progress: Callable
) -> tuple[list[int], int]:
    """(examples in each file, bytes of all)."""
    from tensorflow_datasets.core import example_serializer, file_adapters
    from tensorflow_datasets.core.utils import shard_utils

    features = builder.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    shards = shard_utils.ShardConfig.calculate_number_shards(examples.num_bytes, examples.count)
    ends = shard_utils.get_shard_boundaries(examples.count, shards)
    starts = [0, *ends[:-1]]

    def serialized(start: int, end: int):
        for index in range(start, end):
            if index % EVERY == 0:
                progress(name, index, examples.count)
            try:
                example = examples.example(index)
            except OSError as error:  # Pillow's too, which names no file
                where = error.filename or f"{name} example {index:,}"
                raise Mistake(f"{where} cannot be read: {error.strerror or error}") from error
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
            except (OSError, RuntimeError) as error:  # of ArrayRecord's writer
                temporary.unlink(missing_ok=True)
                raise Mistake(
                    f"{temporary} cannot be written ({error}): the whole set takes "
                    f"{examples.num_bytes / 2**30:.2g} GiB for {name}; the same command goes on"
                ) from error
            os.replace(temporary, path)
        num_bytes += path.stat().st_size
    progress(name, examples.count, examples.count)
    return [end - start for start, end in zip(starts, ends, strict=True)], num_bytes
