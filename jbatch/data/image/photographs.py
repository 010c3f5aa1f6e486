"""Photographs on disk, decoded as training needs them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jbatch.data.image.tfds import TFDS
from jbatch.errors import Mistake, make_plain, whole

Damaged = Literal["stop", "replace"]


@dataclass(frozen=True)
class ImageFolder:
    """JPEG or PNG files as train/CLASS/* and val/CLASS/*; the classes are numbered by name."""

    path: Path = field(compare=False)  # where it lies is not what it is
    """The folder that holds train."""
    train: str = "train"
    """Split to train on."""
    test: str = "validation"
    """Split to evaluate on; validation is the folder val or validation."""


@dataclass(frozen=True)
class Photographs:
    """A set of any size, read and decoded by worker processes, streamed to the devices.

    For training, a part of random area (8% to all) and aspect ratio (3/4 to 4/3) is resized to a
    square; for evaluation, the central square.
    """

    source: TFDS | ImageFolder
    """Where the photographs are."""
    image_size: int = 224
    """Height and width that the network sees, in pixels."""
    central: float = 0.875
    """For evaluation: side of the central square, as a share of the shorter side."""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Of red, green and blue over the training set, 0 to 255, for `normalize`; ImageNet's."""
    deviation: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Standard deviation of the same; ImageNet's."""
    damaged: Damaged = field(default="stop", compare=False)  # for a run that has stopped to go on
    """What a file that does not decode does: stop the run, or be replaced by the next example."""
    workers: int | None = field(default=None, compare=False)  # changes nothing but speed
    """Processes that decode, on each host; None for one a core, 0 for none beside the trainer."""

    def __post_init__(self):
        make_plain(self)
        whole("image_size", self.image_size, most=8192)
        if not 0 < self.central <= 1:
            raise Mistake(f"central is {self.central}: give a share over 0, at most 1")
        if min(self.deviation) <= 0:
            raise Mistake(f"deviation is {self.deviation}: give three values over 0")
        if self.damaged not in ("stop", "replace"):
            raise Mistake(f"damaged is {self.damaged!r}: give one of stop, replace")
        if self.workers is not None:
            whole("workers", self.workers, least=0, most=1024)
