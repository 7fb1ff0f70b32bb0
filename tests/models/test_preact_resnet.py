"""Pre-activation ResNet-18: published counts, shapes, initial weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ltat_tune.models import PreActResNet18
from ltat_tune.models.conv_bn import ConvBN


@pytest.mark.parametrize(("final_bn", "count"), [(False, 11_171_146), (True, 11_172_170)])
def test_the_parameter_counts_for_10_classes(final_bn: bool, count: int) -> None:
    # kuangliu/pytorch-cifar's count, and 2 * 512 more with the BatchNorm behind the last block.
    with torch.device("meta"):
        backbone, head = PreActResNet18(3, final_bn=final_bn), nn.Linear(512, 10)
    assert backbone.out_features == 512
    parameters = [*backbone.parameters(), *head.parameters()]
    assert sum(parameter.numel() for parameter in parameters) == count


@pytest.mark.parametrize(("side", "last"), [(32, 4), (64, 8)])
def test_the_last_stage_sees_an_eighth_of_each_side(side: int, last: int) -> None:
    model = PreActResNet18(3, width=2).eval()
    maps = model.stages(model.stem(torch.rand(1, 3, side, side)))
    assert maps.shape == (1, 16, last, last)


def test_features_are_signed_sums_unless_a_final_relu_follows() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 16, 16)
    assert bool((PreActResNet18(3, width=4)(images) < 0).any())
    features = PreActResNet18(3, width=4, final_bn=True)(images)
    assert bool((features >= 0).all()) and bool((features > 0).any())


def test_convolutions_start_uniform_as_torch_has_it() -> None:
    torch.manual_seed(0)
    convolutions = [m for m in PreActResNet18(3, width=16).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 16 + 3
    for module in convolutions:
        weight = module.weight.detach().flatten()
        fan_in = module.in_channels * module.kernel_size[0] ** 2
        assert float(weight.abs().max()) <= 1 / math.sqrt(fan_in)
        # Uniform in +-b has std b / sqrt(3).
        tolerance = 4 / math.sqrt(len(weight))
        assert float(weight.std()) == pytest.approx(1 / math.sqrt(3 * fan_in), rel=tolerance)


def test_the_convolution_before_a_batch_norm_is_folded_with_it() -> None:
    assert sum(isinstance(m, ConvBN) for m in PreActResNet18(3, width=2).modules()) == 8
