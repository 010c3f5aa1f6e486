"""Networks and norms, as values and as flax modules."""

from jbatch.models.language import GPT
from jbatch.models.norms import (
    GhostBatchNorm,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    WeightNorm,
)
from jbatch.models.specs import (
    MLP,
    Airbench,
    CifarResNet,
    ConvNeXt,
    InceptionResNetV2,
    KeskarC1,
    KeskarC2,
    Model,
    Norm,
    ResNet50,
    SmallCNN,
    ViT,
    WideResNet,
    ghost_batch,
)

__all__ = [
    "GPT",
    "MLP",
    "Airbench",
    "CifarResNet",
    "ConvNeXt",
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
    "ViT",
    "WeightNorm",
    "WideResNet",
    "ghost_batch",
]
