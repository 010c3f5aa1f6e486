"""Networks as values, for experiment files; no flax needed.

`models/build.py` builds their flax.nnx modules.
"""

from dataclasses import dataclass

from jbatch.errors import Mistake, make_plain, positive, share, whole, wholes
from jbatch.models.norms import (
    MOST_WIDE,
    GhostBatchNorm,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    WeightNorm,
)

MOST_LAYERS = 300  # in a network, or in each part of one

Norm = NoNorm | GhostBatchNorm | GroupNorm | LayerNorm | WeightNorm | LocalResponseNorm


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with ReLU.

    `MLP((512,) * 5, GhostBatchNorm())` is F1 of Keskar et al. (arXiv 1609.04836).

    Examples:
        >>> task = jbatch.Classify(jbatch.MLP((512, 512), norm=jbatch.LayerNorm()))
    """

    hidden: tuple[int, ...] = (64,)
    """Width of each hidden layer."""
    norm: Norm = NoNorm()
    """The norm before each ReLU."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_layers("hidden", self.hidden)


@dataclass(frozen=True)
class SmallCNN:
    """3×3 convolutions that each halve the image, and a linear head on the remaining pixels.

    Examples:
        >>> task = jbatch.Classify(jbatch.SmallCNN(widths=(32, 64)))
    """

    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each convolution."""
    norm: Norm = GhostBatchNorm()
    """The norm before each ReLU."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_widths(self.widths)


@dataclass(frozen=True)
class CifarResNet:
    """The residual network for small images (He et al., arXiv 1512.03385, section 4.2).

    With three widths of n blocks each it is ResNet-(6n + 2), so 7 blocks make ResNet-44.

    Examples:
        >>> task = jbatch.Classify(jbatch.CifarResNet(blocks=3))
    """

    blocks: int = 7
    """Residual blocks of each width."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each group of blocks; every group but the first halves the image."""
    norm: Norm = GhostBatchNorm()
    """The norm after each convolution."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("blocks", self.blocks, most=MOST_LAYERS)
        _check_widths(self.widths)
        if list(self.widths) != sorted(self.widths):
            raise Mistake(
                f"widths {self.widths} decrease, but shortcuts can only add channels: give widths "
                "that do not decrease"
            )


@dataclass(frozen=True)
class WideResNet:
    """A wide residual network d-k (Zagoruyko and Komodakis, arXiv 1605.07146).

    Examples:
        >>> task = jbatch.Classify(jbatch.WideResNet(depth=28, widen=10))
    """

    depth: int = 16
    """d: the depth, 6n + 4 for n blocks of each width."""
    widen: int = 4
    """k: the three groups of blocks have 16k, 32k and 64k channels."""
    norm: Norm = GhostBatchNorm()
    """The norm before each convolution."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("depth", self.depth, least=10, most=6 * MOST_LAYERS + 4)
        if self.depth % 6 != 4:
            raise Mistake(f"depth {self.depth} is not 6n + 4: give one such as 10, 16, 22 or 28")
        whole("widen", self.widen, most=MOST_WIDE)


@dataclass(frozen=True)
class ResNet50:
    """ResNet-50 (He et al., arXiv 1512.03385) as Goyal et al. train it (arXiv 1706.02677).

    The stride is on the 3×3 convolution. The scale of each block's last norm starts at 0.

    Examples:
        >>> task = jbatch.Classify(jbatch.ResNet50(jbatch.GhostBatchNorm(64)))
    """

    norm: Norm = GhostBatchNorm(32)
    """The norm after each convolution."""


@dataclass(frozen=True)
class InceptionResNetV2:
    """Inception-ResNet-V2 (Szegedy et al., arXiv 1602.07261), for images of 75×75 or more.

    This follows the authors' code (55.8 million parameters), which gave the published results. The
    paper's text has another stem.

    Examples:
        >>> task = jbatch.Classify(jbatch.InceptionResNetV2(auxiliary_head=True))
    """

    norm: Norm = GhostBatchNorm(32, decay=0.9997, eps=1e-3)
    """The norm after each convolution, except those that end a residual branch."""
    dropout: float = 0.2
    """Share of features dropped before the head in training."""
    auxiliary_head: bool = False
    """Train a second head after the 17×17 blocks, with loss weight 0.4."""

    def __post_init__(self) -> None:
        make_plain(self)
        share("dropout", self.dropout)


@dataclass(frozen=True)
class KeskarC1:
    """C1 of Keskar et al. (arXiv 1609.04836), like AlexNet; with 100 classes it is C3.

    Two 5×5 convolutions of 64 channels, each with a pool; dense layers of 384 and 192.

    Examples:
        >>> task = jbatch.Classify(jbatch.KeskarC1())
    """

    norm: Norm = GhostBatchNorm()
    """The norm before each ReLU."""
    dropout: float = 0.5
    """Share of the dense layers' features dropped in training."""

    def __post_init__(self) -> None:
        make_plain(self)
        share("dropout", self.dropout)


@dataclass(frozen=True)
class KeskarC2:
    """C2 of Keskar et al. (arXiv 1609.04836), like VGG; with 100 classes it is C4.

    Stacks of 2, 2, 3, 3 and 3 convolutions with 64 to 512 channels, each stack with a pool; then a
    dense layer of 512.

    Examples:
        >>> task = jbatch.Classify(jbatch.KeskarC2(dropout=0.2))
    """

    norm: Norm = GhostBatchNorm()
    """The norm before each ReLU."""
    dropout: float = 0.5
    """Share of the dense layer's features dropped in training."""

    def __post_init__(self) -> None:
        make_plain(self)
        share("dropout", self.dropout)


@dataclass(frozen=True)
class Airbench:
    """The network that reaches 94% on CIFAR-10 fastest (Jordan, arXiv 2404.00498), 1.97 million
    parameters.

    A 2×2 convolution whose kernel whitens the training images and stays as it is; three blocks of
    3×3 convolution, 2×2 pool, norm, GELU, 3×3 convolution, norm, GELU; a pool, a linear head
    without bias. Convolutions begin as partial identities. For images of 31×31 pixels or more.

    Examples:
        >>> task = jbatch.Classify(jbatch.Airbench())
    """

    widths: tuple[int, ...] = (64, 256, 256)
    """Channels of each block."""
    norm: Norm = GhostBatchNorm(1024, decay=0.6, eps=1e-12, scale=False)
    """The norm before each GELU but the first."""
    whitening_eps: float = 5e-4
    """Added to the eigenvalues of the patches' covariance, of standardized images."""
    whitening_images: int = 5000
    """The first so many training images make the whitening kernel."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_widths(self.widths)
        positive("whitening_eps", self.whitening_eps)
        whole("whitening_images", self.whitening_images)


@dataclass(frozen=True)
class ViT:
    """A vision transformer (Dosovitskiy et al., arXiv 2010.11929), as DeiT has it.

    With the defaults it is ViT-S/16: 22,050,664 parameters for images of 224×224 and 1,000 classes.

    Examples:
        >>> task = jbatch.Classify(jbatch.ViT(patch=8, layers=6))
    """

    patch: int = 16
    """Pixels of a patch, in height and width; they divide those of the image."""
    width: int = 384
    """Numbers of each patch between the blocks."""
    layers: int = 12
    """Blocks of attention and feed-forward layers."""
    heads: int = 6
    """Heads of each attention; they share the width."""
    dropout: float = 0.0
    """Share that is dropped of the embedding, and of what each part of a block adds."""
    stochastic_depth: float = 0.0
    """Share of examples that pass by the last block's parts; of earlier ones it grows in a line."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name, most in (("patch", MOST_WIDE), ("width", MOST_WIDE), ("heads", MOST_WIDE)):
            whole(name, getattr(self, name), most=most)
        whole("layers", self.layers, most=MOST_LAYERS)
        share("dropout", self.dropout)
        share("stochastic_depth", self.stochastic_depth)
        if self.width % self.heads:
            raise Mistake(
                f"width {self.width} is no multiple of heads {self.heads}: give one that is"
            )


@dataclass(frozen=True)
class ConvNeXt:
    """A convolutional network after transformers (Liu et al., arXiv 2201.03545).

    With the defaults it is ConvNeXt-T: 28,589,128 parameters for 1,000 classes.

    Examples:
        >>> task = jbatch.Classify(jbatch.ConvNeXt(stochastic_depth=0.2))
    """

    blocks: tuple[int, ...] = (3, 3, 9, 3)
    """Blocks of each stage."""
    widths: tuple[int, ...] = (96, 192, 384, 768)
    """Channels of each stage; every stage but the first halves the image."""
    patch: int = 4
    """Pixels of the first convolution, and its stride."""
    layer_scale: float = 1e-6
    """Initial factor on what each block adds."""
    stochastic_depth: float = 0.1
    """Share of examples that pass by the last block; of earlier ones it grows in a line."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_widths(self.widths)
        _check_layers("blocks", self.blocks)
        whole("patch", self.patch, most=MOST_WIDE)
        positive("layer_scale", self.layer_scale)
        share("stochastic_depth", self.stochastic_depth)
        if len(self.blocks) != len(self.widths):
            raise Mistake(
                f"blocks has {len(self.blocks)} stages and widths {len(self.widths)}: give as many"
            )


Model = (
    MLP
    | SmallCNN
    | CifarResNet
    | WideResNet
    | ResNet50
    | InceptionResNetV2
    | KeskarC1
    | KeskarC2
    | Airbench
    | ViT
    | ConvNeXt
)


def ghost_batch(model: Model) -> int | None:
    """Return g, the ghost batch of the model's batch norm; None without batch norm."""
    norm = getattr(model, "norm", None)
    return norm.ghost_batch if isinstance(norm, GhostBatchNorm) else None


def _check_widths(widths: tuple[int, ...]) -> None:
    _check_layers("widths", widths)
    if not widths:
        raise Mistake("widths is empty: give the channels of at least one layer")


def _check_layers(name: str, widths: tuple[int, ...]) -> None:
    if len(wholes(name, widths, most=MOST_WIDE)) > MOST_LAYERS:
        raise Mistake(f"{name} has {len(widths):,} layers: give at most {MOST_LAYERS:,}")
