"""A dataset's shapes, for plans and estimates that do not need its examples."""

from pathlib import Path

from jbatch.data.about import About
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.tfds import TFDS, check_features, refuse_code
from jbatch.data.inputs import Inputs
from jbatch.data.open import load
from jbatch.data.resident import ResidentInputs
from jbatch.data.sources import Data
from jbatch.data.stream.feed import StreamedInputs
from jbatch.data.stream.photographs import about_photographs, image_spec
from jbatch.errors import Mistake


def on_paper(data: Data, num_examples: int) -> tuple[Inputs, About]:
    """Describe a dataset as (inputs, what a task learns), without its examples where possible.

    For TensorFlow Datasets the name is enough. Image folders and other datasets are opened.

    Raises:
        Mistake: if the dataset is unknown, or needs to be streamed.
    """
    if isinstance(data, Photographs) and isinstance(data.source, TFDS):
        _, classes = _known(data.source)
        about = about_photographs(data, [""] * classes)._replace(on_paper=True)
        return StreamedInputs(num_examples, 1, about.example), about
    if isinstance(data, TFDS):
        shape, classes = _known(data)
        if None in shape:
            raise Mistake(
                f"the images of {data.name} have different sizes: stream it with "
                "Photographs(TFDS(…))"
            )
        example = image_spec(shape)
        anything = (0.0,) * shape[-1], (1.0,) * shape[-1]  # for shapes and costs
        about = About(example, classes, mean=anything[0], deviation=anything[1], on_paper=True)
        return ResidentInputs(num_examples, 1, example), about
    loaded = load(data)
    return loaded.inputs, loaded.about


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
