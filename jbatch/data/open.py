"""Opening the dataset that an experiment names."""

from jbatch.data.dataset import check_dataset
from jbatch.data.image.augment import Augment
from jbatch.data.image.normalize import Normalize
from jbatch.data.image.photographs import Photographs
from jbatch.data.inputs import Loaded
from jbatch.data.resident import ResidentData
from jbatch.data.sources import Data
from jbatch.errors import Mistake


def load(data: Data, augment: Augment, normalize: Normalize) -> Loaded:
    """Load a dataset into memory, or find it on disk to stream it.

    Raises:
        Mistake: if it is missing, incomplete or damaged.
    """
    if isinstance(data, Photographs):
        from jbatch.data.stream.feed import StreamedData  # here: it imports the decoders

        return StreamedData(data, augment, normalize)
    try:
        loaded = data.load()
    except SystemExit as error:  # of a user's class; uncaught, the command might exit with 0
        raise Mistake(
            f"{type(data).__name__}.load() raised SystemExit ({error}): it must return a dataset"
        ) from error
    check_dataset(type(data).__name__, loaded)
    return ResidentData(loaded, augment, normalize)
