"""ResNet-18 for CIFAR-sized images."""

from __future__ import annotations

import torch

from ltat_tune.config.sections import ModelConfig
from ltat_tune.models import ResNet18, build_model


def test_resnet18_has_11173962_parameters_for_10_classes() -> None:
    # The CIFAR ResNet-18 that REAT, SRAT and most of the field train.
    model = build_model(ModelConfig(name="resnet18"), in_channels=3, num_classes=10)
    assert model.feature_dim == 512
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962


def test_the_last_stage_sees_an_eighth_of_each_side() -> None:
    model = ResNet18(3, width=2).eval()
    maps = model.stages(model.stem(torch.rand(1, 3, 32, 32)))
    assert maps.shape == (1, 16, 4, 4)


def test_features_are_post_relu_averages_at_several_image_sizes() -> None:
    model = ResNet18(1, width=2)
    for side in (8, 28, 32):
        features = model(torch.rand(2, 1, side, side))
        assert features.shape == (2, 16)
        assert bool((features >= 0).all())
