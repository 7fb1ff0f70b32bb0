"""Networks that map images in [0, 1] to logits and, on request, features. They normalise inside.

May import `losses` for its precision, and `config`. Attacks, methods and training import it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltat_tune.config.sections import ModelConfig
from ltat_tune.models.classifier import Classifier
from ltat_tune.models.computing import (
    chosen_precision,
    exactly,
    prepare_model,
    takes_channels_last,
)
from ltat_tune.models.foreign import ForeignBackbone, build_foreign, is_foreign
from ltat_tune.models.foreign.backbone import DEFAULT_SIDE
from ltat_tune.models.heads import CosineHead
from ltat_tune.models.inference import measured
from ltat_tune.models.preact_resnet import PreActResNet18
from ltat_tune.models.resnet import ResNet18
from ltat_tune.models.small_cnn import SmallCNN
from ltat_tune.models.wide_resnet import WideResNet

__all__ = [
    "MODELS",
    "Classifier",
    "CosineHead",
    "PreActResNet18",
    "ResNet18",
    "SmallCNN",
    "WideResNet",
    "build_model",
    "chosen_precision",
    "exactly",
    "is_foreign",
    "measured",
    "prepare_model",
]

_OWN = (SmallCNN, ResNet18, PreActResNet18, WideResNet)  # work in every memory layout
Backbone = SmallCNN | ResNet18 | PreActResNet18 | WideResNet | ForeignBackbone

MODELS: dict[str, Callable[[ModelConfig, int], Backbone]] = {
    "small_cnn": lambda config, channels: SmallCNN(
        channels, width=config.width or 32, stem=config.stem
    ),
    "resnet18": lambda config, channels: ResNet18(channels, width=config.width or 64),
    "preact_resnet18": lambda config, channels: PreActResNet18(
        channels, width=config.width or 64, final_bn=True
    ),
    "wrn28_10": lambda config, channels: WideResNet(channels, depth=28, width=config.width or 160),
    "wrn34_10": lambda config, channels: WideResNet(channels, depth=34, width=config.width or 160),
}


def build_model(
    config: ModelConfig,
    *,
    in_channels: int,
    num_classes: int,
    side: int = DEFAULT_SIDE,
    projection: bool = False,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    seed: int = 0,
) -> Classifier:
    """Build the network on the CPU. Equal seeds give equal weights; global state is unchanged.

    Args:
        config: the network, its width and its head.
        in_channels: C of the images.
        num_classes: K.
        side: pixels of a side of the images, for networks that need to know it.
        projection: adds SRAT's projection head. The other weights do not depend on it.
        mean: subtracted from each channel, shape (C,), pixel units; None is 0.
        std: divides each channel, shape (C,), pixel units; None is 1.
        seed: seed of the initial weights. They use torch's default initialisation, except in a
            WideResNet. Those of the backbone and the projection do not depend on the head.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the GPUs' global generators.
        torch.default_generator.manual_seed(seed)
        backbone: Backbone
        if is_foreign(config.name):
            backbone = build_foreign(
                config, in_channels=in_channels, num_classes=num_classes, side=side
            )
        else:
            backbone = MODELS[config.name](config, in_channels)
        model = Classifier(
            backbone,
            backbone.out_features,
            num_classes,
            in_channels=in_channels,
            head=config.head,
            head_scale=config.head_scale,
            head_gamma=config.head_gamma,
            projection=projection,
            mean=mean,
            std=std,
        )
    if not isinstance(backbone, _OWN):
        model.any_layout = takes_channels_last(backbone, torch.zeros(2, in_channels, side, side))
    return model
