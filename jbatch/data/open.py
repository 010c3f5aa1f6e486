"""From a data set as a value to one that can be trained on."""

from jbatch.data.dataset import check_dataset
from jbatch.data.image.augment import Augment
from jbatch.data.image.normalize import Normalize
from jbatch.data.image.photographs import Photographs
from jbatch.data.inputs import Loaded
from jbatch.data.resident import ResidentData
from jbatch.data.sources import Data
from jbatch.errors import Mistake


def load(data: Data, augment: Augment, normalize: Normalize) -> Loaded:
    """In memory, or found on disk to be streamed; Mistake if it is not there or not whole."""
    if isinstance(data, Photographs):
        from jbatch.data.stream.feed import StreamedData  # and with it what decodes

        return StreamedData(data, augment, normalize)
    try:
        loaded = data.load()
    except SystemExit as error:  # of a person's own; it would end the command as if it had trained
        raise Mistake(f"{type(data).__name__}'s load ends by SystemExit: {error}") from error
    check_dataset(type(data).__name__, loaded)
    return ResidentData(loaded, augment, normalize)
