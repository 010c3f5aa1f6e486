"""A dataset's shapes, for plans and estimates that do not need its examples."""

from pathlib import Path

from jbatch.data.image.augment import Augment
from jbatch.data.image.normalize import Normalize
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.tfds import TFDS, check_features, refuse_code
from jbatch.data.inputs import Inputs
from jbatch.data.open import load
from jbatch.data.resident import ResidentInputs
from jbatch.data.sources import Data
from jbatch.data.stream.feed import StreamedInputs
from jbatch.errors import Mistake


def on_paper(
    data: Data, augment: Augment, normalize: Normalize, num_examples: int
) -> tuple[Inputs, int]:
    """Describe a dataset as (inputs, number of classes), without its examples where possible.

    For TensorFlow Datasets the name is enough. Image folders and other datasets are opened.

    Raises:
        Mistake: if the dataset is unknown, or needs to be streamed.
    """
    if isinstance(data, Photographs) and isinstance(data.source, TFDS):
        _, classes = _known(data.source)
        inputs = StreamedInputs(
            num_examples=num_examples,
            num_test=1,
            input_shape=(data.image_size, data.image_size, 3),
            augment=augment,
            normalize=normalize,
            mean=data.mean,
            deviation=data.deviation,
        )
        return inputs, classes
    if isinstance(data, TFDS):
        shape, classes = _known(data)
        if None in shape:
            raise Mistake(
                f"the images of {data.name} have different sizes: stream it with "
                "Photographs(TFDS(…))"
            )
        return ResidentInputs(num_examples, 1, shape, augment, normalize), classes
    loaded = load(data, augment, normalize)
    return loaded.inputs, loaded.num_classes


def _known(data: TFDS) -> tuple[tuple[int, ...], int]:
    """Look up (shape of an image, number of classes) by the name in TensorFlow Datasets."""
    import tensorflow_datasets as tfds

    folder = Path(data.data_dir or tfds.core.constants.DATA_DIR).expanduser()
    refuse_code(folder / data.name.split(":")[0])
    try:
        features = tfds.builder(data.name, data_dir=data.data_dir).info.features
    except (ValueError, tfds.core.DatasetNotFoundError) as error:
        raise Mistake(
            f"TensorFlow Datasets does not know {data.name}: write it with `jbatch prepare`, then "
            "set data_dir"
        ) from error
    check_features(data.name, features)
    return features["image"].shape, features["label"].num_classes
