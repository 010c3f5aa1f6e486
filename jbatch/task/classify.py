"""Image classification: what a person writes, and what suits a dataset."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jbatch.data.about import About
from jbatch.data.dataset import check_labels
from jbatch.data.image.augment import Augment
from jbatch.data.image.mix import Mix
from jbatch.data.image.normalize import Normalize, affine, affine_of
from jbatch.data.image.views import Views
from jbatch.errors import Mistake, make_plain, share, shown, whole
from jbatch.models.specs import MLP, Airbench, Model, ghost_batch
from jbatch.task.base import Task, check_group
from jbatch.text import counted

PAIR = 2  # examples that are mixed, if none share statistics
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Classify(Task):
    """Tell classes apart by cross-entropy, on examples {"image": (…, C), "label": integer}.

    Examples:
        >>> from flax import nnx
        >>> class Net(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.hidden = nnx.Linear(64, 128, rngs=rngs)
        ...         self.out = nnx.Linear(128, 10, rngs=rngs)
        ...
        ...     def __call__(self, image):  # (8, 8, 1): one image
        ...         return self.out(nnx.relu(self.hidden(image.reshape(-1))))
        >>> task = jbatch.Classify(Net, label_smoothing=0.1)
    """

    model: Any
    """The network: one of jbatch's, or your own. Your own is a flax linen module, or a function of
    rngs that returns an nnx module; it is called with one image and returns logits (classes,)."""
    augment: Augment = Augment()  # noqa: RUF009 - frozen
    """Random changes to training images."""
    normalize: Normalize = "standardize"
    """How pixel values are normalized before they enter the network."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes."""
    sides: tuple[tuple[int, int], ...] = ()
    """Progressive resizing, as (batch size, pixels) in ascending order: updates of so many examples
    or more see training images of this height and width. Smaller batches, and evaluations, see
    them as they are. The network must take images of any size."""
    mix: Mix = Mix()  # noqa: RUF009 - frozen
    """Whether training images are mixed with others of their group."""
    dtype: Dtype = "float32"
    """Type that jbatch's networks compute in. Parameters, norm statistics and the loss stay
    float32. In your own network, set the dtype of its layers instead."""
    views: Views = Views()  # noqa: RUF009 - frozen
    """What the network sees of a test image; by default the image alone."""
    ghost_batch: int | None = None
    """For your own network with BatchNorm(axis_name="group"): examples that share statistics.
    jbatch's networks have it in their norm."""

    def __post_init__(self) -> None:
        make_plain(self)
        share("label_smoothing", self.label_smoothing)
        _check_sides(self.sides)
        if isinstance(self.model, Model):
            if self.ghost_batch is not None:
                raise Mistake(
                    f"ghost_batch is {self.ghost_batch}, but {type(self.model).__name__} has it in "
                    "its norm: give norm=GhostBatchNorm(…)"
                )
            return
        check_group(self.ghost_batch)
        from jbatch.task.modules import module_of  # here: it imports flax, which plans do not need

        module_of(self.model)
        if self.dtype != "float32":
            raise Mistake(
                f"dtype is {self.dtype}, which would change nothing: in your own network, set the "
                "dtype of its layers, such as nnx.Linear(…, dtype=jnp.bfloat16)"
            )

    @property
    def group(self) -> int | None:  # type: ignore[override]  # it follows from the network
        """g: examples that share batch norm statistics or are mixed; None without both."""
        found = ghost_batch(self.model) if isinstance(self.model, Model) else self.ghost_batch
        return PAIR if found is None and self.mix.mixes else found

    def fitted(self, about: About) -> Task:
        """Return the task for a dataset's images and classes.

        Raises:
            Mistake: if it has no images and labels, or they do not suit.
        """
        shape, num_classes = _checked(about)
        if self.augment.color and shape[-1] != 3:
            raise Mistake(
                f"augment.color is {self.augment.color:g}, but it needs red, green and blue, and "
                f"the images have {counted(shape[-1], 'channel')}: set it to 0"
            )
        if isinstance(self.model, Model) and not isinstance(self.model, MLP) and len(shape) != 3:
            raise Mistake(
                f"{type(self.model).__name__} wants images (H, W, C), but yours are {shape}: give "
                "them these three axes, with C = 1 for grey ones"
            )
        pictured = self.augment.shapes or self.views != Views() or self.mix.mixes or self.sides
        if pictured and len(shape) != 3:
            raise Mistake(
                f"augment, views, mix and sides are for images (H, W, C), but yours are {shape}: "
                "leave them out"
            )
        self.augment.check(shape, about.example.tree["image"].dtype)
        self.views.check(shape)
        streamed = about.train is None and not about.on_paper
        if streamed and self.augment.alternating_flip:
            raise Mistake(
                "augment.alternating_flip needs data in memory, because a stream does not tell an "
                "example's number in the dataset: give flip instead"
            )
        if streamed and isinstance(self.model, Airbench):
            raise Mistake(
                "Airbench whitens training images, which a stream does not have in memory: give "
                "data in memory, such as TFDS(…) or Arrays(…), or another network"
            )
        from jbatch.task.classifier import Classifier, OwnClassifier, graph  # here: as above
        from jbatch.task.network import OfModule

        shift, factor = _affine(self.normalize, about)
        fitted = Classifier(self, shape, num_classes, tuple(shift), tuple(factor))
        if isinstance(self.model, Airbench) and about.train is not None:
            some = about.train["image"][: self.model.whitening_images]
            fitted = fitted.whitened(self.model, some)
        if isinstance(self.model, Model):
            graph(fitted)  # refuses images too small for the network, and norms that do not fit it
            return fitted
        own = OfModule(OwnClassifier(fitted), about.example)
        if self.mix.mixes and self.ghost_batch is None and own.averages:
            raise Mistake(
                "mix pairs examples, so that the network's batch norm would be over two: give "
                "ghost_batch, the number of examples that share statistics"
            )
        return own


def _check_sides(sides: Any) -> None:
    pairs = isinstance(sides, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in sides
    )
    if not pairs or [least for least, _ in sides] != sorted({least for least, _ in sides}):
        raise Mistake(
            f"sides is {shown(sides)}: give pairs of (batch size, pixels), the batch sizes in "
            "ascending order, such as ((1, 24), (2048, 32))"
        )
    for least, side in sides:
        whole("a batch size of sides", least)
        whole("a side", side, most=100_000)


def _checked(about: About) -> tuple[tuple[int, ...], int]:
    """Return (shape of an image, number of classes); raise Mistake if they cannot be trained on."""
    example = about.example.tree
    if not isinstance(example, dict) or not {"image", "label"} <= set(example):
        has = ", ".join(map(repr, example)) if isinstance(example, dict) else "no names"
        raise Mistake(
            f"Classify wants examples with 'image' and 'label', but the dataset's have {has}: "
            'rename them, as Arrays(train={"image": …, "label": …}, test=…)'
        )
    image, label = example["image"], example["label"]
    if not image.shape or not image.size > 0 or image.dtype.kind not in "iuf":
        raise Mistake(
            f"the images are {image.dtype} of shape {image.shape} each: give numbers of shape "
            "(H, W, C), or (…, C) for your own network"
        )
    if label.shape or label.dtype.kind not in "iu":
        raise Mistake(
            f"the labels are {label.dtype} of shape {label.shape} each: give one integer for each "
            "example"
        )
    classes = about.num_classes
    if about.train is None:
        if classes is None:
            raise Mistake("the number of classes is not known: give Source(…, num_classes=…)")
        return image.shape, classes
    if classes is None:
        classes = int(about.train["label"].max()) + 1
    for name, split in (("train", about.train), ("test", about.test)):
        check_labels(f"the {name} labels", split["label"], classes)
    return image.shape, classes


def _affine(normalize: Normalize, about: About) -> tuple[list[float], list[float]]:
    """Return what to subtract from each channel and what to multiply it by."""
    image = about.example.tree["image"]
    if about.train is not None:
        if normalize == "logarithm" and image.dtype != np.uint8:
            raise Mistake(
                f"normalize is logarithm, but the images are {image.dtype}: it is for values of 0 "
                "to 255 (uint8)"
            )
        found = affine(normalize, about.train["image"])
    elif about.mean is not None and about.deviation is not None:
        found = affine_of(normalize, about.mean, about.deviation)
    elif normalize in ("per-image", "none"):
        found = affine_of(normalize, (0.0,) * image.shape[-1], (1.0,) * image.shape[-1])
    else:
        raise Mistake(
            f"normalize is {normalize}, but the dataset does not say its images' mean and "
            'deviation: normalize in its load, and give normalize="none"'
        )
    shift, factor = found
    return shift.tolist(), factor.tolist()
