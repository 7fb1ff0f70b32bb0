"""Networks: images in [0, 1] to logits, features on request, normalisation inside."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltat_tune.config import ModelConfig
from ltat_tune.models.classifier import Classifier
from ltat_tune.models.resnet import ResNet18
from ltat_tune.models.small_cnn import SmallCNN

__all__ = ["MODELS", "Classifier", "ResNet18", "SmallCNN", "build_model"]

MODELS: dict[str, Callable[[ModelConfig, int], SmallCNN | ResNet18]] = {
    "small_cnn": lambda config, channels: SmallCNN(
        channels, width=config.width or 32, stem=config.stem
    ),
    "resnet18": lambda config, channels: ResNet18(channels, width=config.width or 64),
}


def build_model(
    config: ModelConfig,
    *,
    in_channels: int,
    num_classes: int,
    projection: bool = False,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    seed: int = 0,
) -> Classifier:
    """Builds the network on the CPU; equal seeds give equal weights, no global state moves.

    Args:
        config: which network, and its width.
        in_channels: C of the images.
        num_classes: K.
        projection: adds SRAT's projection head; the other weights do not depend on it.
        mean: subtracted from each channel, shape (C,), pixel units; None is 0.
        std: divides each channel, shape (C,), pixel units; None is 1.
        seed: of the initial weights (torch's default initialisation).
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the GPUs' global generators.
        torch.default_generator.manual_seed(seed)
        backbone = MODELS[config.name](config, in_channels)
        return Classifier(
            backbone,
            backbone.out_features,
            num_classes,
            in_channels=in_channels,
            projection=projection,
            mean=mean,
            std=std,
        )
