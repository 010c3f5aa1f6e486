"""Norms as values, for experiment files; no flax needed.

`models/norm.py` builds their layers.
"""

from dataclasses import dataclass

from jbatch.errors import make_plain, not_negative, positive, share, whole

MOST_WIDE = 1_000_000  # units of a layer


@dataclass(frozen=True)
class NoNorm:
    """No normalization.

    Examples:
        >>> model = jbatch.SmallCNN(norm=jbatch.NoNorm())
    """


@dataclass(frozen=True)
class GhostBatchNorm:
    """Batch norm over ghost batches (Hoffer et al., arXiv 1705.08741).

    Examples:
        >>> norm = jbatch.GhostBatchNorm(64)
        >>> norm = jbatch.GhostBatchNorm.remembering(10_000, 64)
    """

    ghost_batch: int = 128
    """g, examples of one update that share statistics."""
    decay: float = 0.99
    """Decay of the running statistics, per ghost batch."""
    eps: float = 1e-5
    """Added to the variance."""
    scale: bool = True
    """Multiply by a learned scale. Without, only the bias is learned."""

    @classmethod
    def remembering(cls, examples: int, ghost_batch: int) -> "GhostBatchNorm":
        """Make a norm whose running statistics cover about the last `examples` examples.

        The default decay covers the last 100 ghost batches. A run of few updates with large ghost
        batches sees fewer, so the initial statistics would remain part of the result.
        """
        return cls(ghost_batch, decay=cls.decay ** (100 * ghost_batch / examples))

    def __post_init__(self) -> None:
        make_plain(self)
        whole("ghost_batch", self.ghost_batch, most=2**31 - 1)
        share("decay", self.decay)
        positive("eps", self.eps)


@dataclass(frozen=True)
class GroupNorm:
    """Norm over pixels and groups of channels of one example (Wu and He, arXiv 1803.08494).

    Examples:
        >>> model = jbatch.WideResNet(norm=jbatch.GroupNorm(16))
    """

    groups: int = 32
    """Number of groups; it must divide every layer's number of channels."""
    eps: float = 1e-5
    """Added to the variance."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("groups", self.groups, most=MOST_WIDE)
        positive("eps", self.eps)


@dataclass(frozen=True)
class LayerNorm:
    """Norm over pixels and channels of one example (Ba et al., arXiv 1607.06450).

    Examples:
        >>> model = jbatch.MLP((512,), norm=jbatch.LayerNorm())
    """

    eps: float = 1e-5
    """Added to the variance."""

    def __post_init__(self) -> None:
        make_plain(self)
        positive("eps", self.eps)


@dataclass(frozen=True)
class WeightNorm:
    """Weights as length times direction, per unit (Salimans and Kingma, arXiv 1602.07868).

    Examples:
        >>> model = jbatch.MLP((512,), norm=jbatch.WeightNorm())
    """


@dataclass(frozen=True)
class LocalResponseNorm:
    """x / (k + α Σ x²)^β over neighbouring channels (Krizhevsky et al., 2012, section 3.3).

    Examples:
        >>> model = jbatch.KeskarC1(norm=jbatch.LocalResponseNorm())
    """

    size: int = 5
    """n: number of channels in the sum, the channel itself and neighbours on both sides."""
    k: float = 2.0
    """k: added to the weighted sum."""
    alpha: float = 1e-4
    """α: weight of the sum."""
    beta: float = 0.75
    """β: the exponent."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("size", self.size, most=MOST_WIDE)
        positive("k", self.k)
        not_negative("alpha", self.alpha)
        positive("beta", self.beta)
