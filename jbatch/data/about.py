"""What a task learns about a dataset before training begins."""

from typing import NamedTuple

from jbatch.data.batch import Example, Spec
from jbatch.data.text.tokenizer import Tokenizer


class About(NamedTuple):
    """A dataset, as far as a task may depend on it."""

    example: Spec
    num_classes: int | None = None  # of a text: different tokens; None if the dataset does not say
    class_names: tuple[str, ...] | None = None
    train: Example = None  # NumPy arrays with a leading axis; None if the dataset is not in memory
    test: Example = None
    # Of the training set's images, by channel; None if the dataset does not say.
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    tokenizer: Tokenizer | None = None  # of a text; None if it does not say
    on_paper: bool = False  # whether only shapes and costs are asked for
