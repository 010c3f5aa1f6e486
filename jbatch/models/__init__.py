"""Networks and norms, as values and as flax modules."""

from jbatch.models.language import GPT
from jbatch.models.specs import (
    MLP,
    CifarResNet,
    GhostBatchNorm,
    GroupNorm,
    InceptionResNetV2,
    KeskarC1,
    KeskarC2,
    LayerNorm,
    LocalResponseNorm,
    Model,
    NoNorm,
    Norm,
    ResNet50,
    SmallCNN,
    WeightNorm,
    WideResNet,
    ghost_batch,
)

__all__ = [
    "GPT",
    "MLP",
    "CifarResNet",
    "GhostBatchNorm",
    "GroupNorm",
    "InceptionResNetV2",
    "KeskarC1",
    "KeskarC2",
    "LayerNorm",
    "LocalResponseNorm",
    "Model",
    "NoNorm",
    "Norm",
    "ResNet50",
    "SmallCNN",
    "WeightNorm",
    "WideResNet",
    "ghost_batch",
]
