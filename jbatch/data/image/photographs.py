"""Images on disk, decoded while the run trains."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jbatch.data.image.tfds import TFDS
from jbatch.errors import Mistake, make_plain, whole

Damaged = Literal["stop", "replace"]


@dataclass(frozen=True)
class ImageFolder:
    """JPEG or PNG files in train/CLASS/* and val/CLASS/*; classes are numbered in order of name.

    Examples:
        >>> from pathlib import Path
        >>> data = jbatch.Photographs(jbatch.ImageFolder(Path("imagenette2")))
    """

    path: Path = field(compare=False)  # a moved dataset is the same dataset
    """The folder that holds train."""
    train: str = "train"
    """Split to train on."""
    test: str = "validation"
    """Split to evaluate on. The split validation is the folder val or validation."""
    validation: str | None = None
    """Split to evaluate on during the run; the test split is then left for its end."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it names."""
        return self.train, self.test, *filter(None, [self.validation])


@dataclass(frozen=True)
class Photographs:
    """Stream an image dataset of any size; worker processes read and decode it.

    Training crops a random part of each image (8% to 100% of its area, aspect ratio 3/4 to 4/3;
    Szegedy et al., arXiv 1409.4842) and resizes it to a square. Evaluation takes the central
    square.

    Examples:
        >>> source = jbatch.TFDS("imagenet2012", test="validation")
        >>> data = jbatch.Photographs(source, image_size=160)
    """

    source: TFDS | ImageFolder
    """Where the images are."""
    image_size: int = 224
    """Height and width of the network's input, in pixels."""
    central: float = 0.875
    """Side of the central square in evaluation, as a share of the image's shorter side."""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean of red, green and blue over the training set (0 to 255); default: ImageNet's."""
    deviation: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Standard deviation of red, green and blue over the training set; default: ImageNet's."""
    damaged: Damaged = field(default="stop", compare=False)  # a stopped run may resume with it
    """If a file cannot be decoded: stop the run, or replace it by the next example."""
    workers: int | None = field(default=None, compare=False)  # changes nothing but speed
    """Decoding processes per host. None: one per core. 0: decode in the trainer process."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("image_size", self.image_size, most=8192)
        if not 0 < self.central <= 1:
            raise Mistake(f"central is {self.central}: give a share above 0 and at most 1")
        if min(self.deviation) <= 0:
            raise Mistake(f"deviation is {self.deviation}: give three values above 0")
        if self.damaged not in ("stop", "replace"):
            raise Mistake(f"damaged is {self.damaged!r}: give stop or replace")
        if self.workers is not None:
            whole("workers", self.workers, least=0, most=1024)
