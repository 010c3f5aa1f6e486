"""Opening the dataset that an experiment names."""

from typing import Any

from jbatch.data.dataset import checked
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.tfds import TFDS, open_builder
from jbatch.data.inputs import Loaded
from jbatch.data.resident import ResidentData
from jbatch.data.source import Source
from jbatch.data.text.tokens import Tokens
from jbatch.errors import Mistake


def num_examples(data: Any) -> int | None:
    """Return the number of training examples of a dataset; reads no example where it says so.

    A stream has no such number: None.

    Raises:
        Mistake: if it is missing, incomplete or damaged.
    """
    source = data.source if isinstance(data, Photographs) else data
    if isinstance(source, TFDS):
        count: int = open_builder(source, source.data_dir).info.splits[source.train].num_examples
        return count
    return load(data).inputs.num_examples


def load(data: Any) -> Loaded:
    """Load a dataset into memory, or find it on disk to stream it.

    Raises:
        Mistake: if it is missing, incomplete or damaged.
    """
    if isinstance(data, Photographs | Source | Tokens):
        from jbatch.data.stream.feed import StreamedData  # here: they import the decoders
        from jbatch.data.stream.photographs import PhotographStream
        from jbatch.data.stream.source import SourceStream
        from jbatch.data.stream.tokens import TokenStream

        match data:
            case Source():
                return StreamedData(SourceStream(data))
            case Tokens():
                return StreamedData(TokenStream(data))
            case _:
                return StreamedData(PhotographStream(data))
    try:
        loaded = data.load()
    except SystemExit as error:  # of a user's class; uncaught, the command might exit with 0
        raise Mistake(
            f"{type(data).__name__}.load() raised SystemExit ({error}): it must return a dataset"
        ) from error
    return ResidentData(checked(type(data).__name__, loaded))
