"""Writing a data set as TensorFlow Datasets keeps it, file by file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.prepare.examples import Examples, Read
from jbatch.stop import saved_in

EVERY = 1000  # examples between reports of progress


def write(builder, found: Read, source: Path, progress: Callable) -> Path:
    """Write what was found to the builder's directory, which it returns.

    The files go to a directory beside it that ends in `.incomplete`, each under its own name only
    when it is whole; a later call with the same source keeps those, and goes on. At the end that
    directory takes the final name.
    """
    import tensorflow_datasets as tfds

    directory = Path(builder.data_dir)
    if directory.exists():
        raise Mistake(
            f"{directory} is there already: use it, remove it, or give another --data-dir"
        )
    incomplete = _begun(directory, source, found)
    builder_name, splits = builder.name, []
    for name, examples in found.splits.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=incomplete,
            dataset_name=builder_name,
            split=name,
            filetype_suffix="array_record",
        )
        lengths, num_bytes = _write_split(builder, name, examples, template, progress)
        splits.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=lengths,
                num_bytes=num_bytes,
                filename_template=template.replace(data_dir=directory),
            )
        )
    builder.info.set_splits(tfds.core.splits.SplitDict(splits))
    builder.info.write_to_directory(incomplete)
    (incomplete / "source.json").unlink()
    incomplete.rename(directory)
    return directory


def _begun(directory: Path, source: Path, found: Read) -> Path:
    """The incomplete directory: with the files of an earlier try, if it was of the same source."""
    incomplete = directory.with_name(directory.name + ".incomplete")
    identity = {
        "source": str(source.resolve()),
        "splits": {name: [part.count, part.num_bytes] for name, part in found.splits.items()},
    }
    note = incomplete / "source.json"
    if incomplete.exists() and not (note.exists() and json.loads(note.read_text()) == identity):
        shutil.rmtree(incomplete)
    try:
        incomplete.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot make {incomplete}: {error.strerror}") from error
    write_whole(note, json.dumps(identity))
    saved_in(note)  # a command that is asked to stop from here on goes on with the same source
    return incomplete


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
