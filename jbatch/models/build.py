"""Build flax.nnx modules from networks as values."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from jbatch.models.airbench import AirbenchNetwork
from jbatch.models.cifar_resnet import CifarResNetNetwork
from jbatch.models.convnext import ConvNeXtNetwork
from jbatch.models.inception_resnet_v2 import InceptionResNetV2Network
from jbatch.models.keskar import KeskarC1Network, KeskarC2Network
from jbatch.models.mlp import MLPNetwork
from jbatch.models.resnet50 import ResNet50Network
from jbatch.models.small_cnn import SmallCNNNetwork
from jbatch.models.specs import (
    MLP,
    Airbench,
    CifarResNet,
    ConvNeXt,
    InceptionResNetV2,
    KeskarC1,
    KeskarC2,
    Model,
    ResNet50,
    SmallCNN,
    ViT,
    WideResNet,
)
from jbatch.models.vit import ViTNetwork
from jbatch.models.wide_resnet import WideResNetNetwork

# Each is called with (network as a value, input_shape, num_classes, rngs).
NETWORKS: Mapping[type[Model], Callable[[Any, tuple[int, ...], int, nnx.Rngs], nnx.Module]] = {
    MLP: MLPNetwork,
    SmallCNN: SmallCNNNetwork,
    CifarResNet: CifarResNetNetwork,
    WideResNet: WideResNetNetwork,
    ResNet50: ResNet50Network,
    InceptionResNetV2: InceptionResNetV2Network,
    KeskarC1: KeskarC1Network,
    KeskarC2: KeskarC2Network,
    Airbench: AirbenchNetwork,
    ViT: ViTNetwork,
    ConvNeXt: ConvNeXtNetwork,
}


def build(
    model: Model, input_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
) -> nnx.Module:
    """Build a network, which is called with (images, training).

    Args:
        model: the network as a value.
        input_shape: (H, W, C) of an image.
        num_classes: number of logits.
        rngs: random numbers for the initial parameters.

    Raises:
        Mistake: if the images are too small, or the norm's groups do not divide the channels.
    """
    return NETWORKS[type(model)](model, input_shape, num_classes, rngs)
