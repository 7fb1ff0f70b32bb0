"""Networks: images in [0, 1] to logits, features on request, normalisation inside."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.config import ModelConfig
from ltat_tune.models.classifier import Classifier
from ltat_tune.models.resnet import ResNet18
from ltat_tune.models.small_cnn import SmallCNN

__all__ = ["MODELS", "Classifier", "ResNet18", "SmallCNN", "build_model"]

MODELS: dict[str, type[SmallCNN] | type[ResNet18]] = {
    "small_cnn": SmallCNN,
    "resnet18": ResNet18,
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
        model = MODELS[config.name]
        backbone = (
            model(in_channels) if config.width is None else model(in_channels, width=config.width)
        )
        return Classifier(
            backbone,
            backbone.out_features,
            num_classes,
            in_channels=in_channels,
            projection=projection,
            mean=mean,
            std=std,
        )
