"""Networks as values: what an experiment chooses, without importing flax.

`build` makes the flax.nnx module, in the file of the network's own name.
"""

from dataclasses import dataclass

from jbatch.errors import Mistake, positive, share, whole


@dataclass(frozen=True)
class NoNorm:
    """No normalization."""


@dataclass(frozen=True)
class GhostBatchNorm:
    """Batch norm over ghost batches (Hoffer et al., arXiv 1705.08741)."""

    ghost_batch: int = 128
    """g, examples of one update that share statistics."""
    decay: float = 0.99
    """Of the running statistics, per ghost batch."""
    eps: float = 1e-5
    """Added to the variance."""

    def __post_init__(self):
        whole("ghost_batch", self.ghost_batch)
        share("decay", self.decay)
        positive("eps", self.eps)


Norm = NoNorm | GhostBatchNorm


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with ReLU."""

    hidden: tuple[int, ...] = (64,)
    """Width of each hidden layer."""
    norm: Norm = NoNorm()
    """Before each ReLU."""

    def __post_init__(self):
        for width in self.hidden:
            whole("hidden", width)

    def build(self, input_shape: tuple[int, ...], num_classes: int, rngs):
        """The network; parameters drawn from `rngs`."""
        from jbatch.models.mlp import MLPNetwork

        return MLPNetwork(self, input_shape, num_classes, rngs)


@dataclass(frozen=True)
class SmallResNet:
    """A stem, one residual block per width (each but the first halves the image), a mean, a head.

    The basic block of He et al. (arXiv 1512.03385), small enough for a CPU.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each block."""
    norm: Norm = GhostBatchNorm()
    """Before each ReLU."""

    def __post_init__(self):
        if not self.widths:
            raise Mistake("widths is empty: give the channels of one block at least")
        for width in self.widths:
            whole("widths", width)

    def build(self, input_shape: tuple[int, ...], num_classes: int, rngs):
        """The network; parameters drawn from `rngs`."""
        from jbatch.models.small_resnet import SmallResNetNetwork

        return SmallResNetNetwork(self, input_shape, num_classes, rngs)


Model = MLP | SmallResNet


def ghost_batch(model: Model) -> int | None:
    """g of the model's batch norm; None if it has none."""
    return model.norm.ghost_batch if isinstance(model.norm, GhostBatchNorm) else None
