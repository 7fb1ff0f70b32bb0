"""Wide residual networks: published counts, shapes, initial weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ltat_tune.errors import ConfigError
from ltat_tune.models import WideResNet
from ltat_tune.models.conv_bn import ConvBN


@pytest.mark.parametrize(("depth", "count"), [(28, 36_479_194), (34, 46_160_474)])
def test_the_published_parameter_counts_for_10_classes(depth: int, count: int) -> None:
    with torch.device("meta"):
        backbone, head = WideResNet(3, depth=depth), nn.Linear(640, 10)
    assert backbone.out_features == 640
    parameters = [*backbone.parameters(), *head.parameters()]
    assert sum(parameter.numel() for parameter in parameters) == count


def test_the_stem_has_16_channels_and_two_stages_halve_the_sides() -> None:
    model = WideResNet(3, depth=16, width=8).eval()
    maps = model.stem(torch.rand(1, 3, 32, 32))
    assert maps.shape == (1, 16, 32, 32)
    shapes = []
    for block in model.stages:
        maps = block(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(8, 32, 32)] * 2 + [(16, 16, 16)] * 2 + [(32, 8, 8)] * 2


def test_features_are_post_relu_averages() -> None:
    features = WideResNet(1, depth=10, width=4)(torch.rand(4, 1, 8, 8))
    assert features.shape == (4, 16)
    assert bool((features >= 0).all())


def test_convolutions_start_normal_with_the_variance_of_2_by_fan_out() -> None:
    torch.manual_seed(0)
    model = WideResNet(3, depth=10, width=64)
    checked = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() >= 4000:
            weight = module.weight.detach().flatten()
            side = module.kernel_size[0]
            std = math.sqrt(2 / (side * side * module.out_channels))
            # The standard deviation of n normal numbers has a relative error of 1 / sqrt(2 n).
            tolerance = 4 / math.sqrt(2 * len(weight))
            assert float(weight.std()) == pytest.approx(std, rel=tolerance)
            assert abs(float(weight.mean())) < 4 * std / math.sqrt(len(weight))
            # A third of normal numbers is further out than one std; of uniform ones, 42 %.
            outside = float((weight.abs() > std).float().mean())
            assert outside == pytest.approx(0.3173, abs=0.02 + 2 / math.sqrt(len(weight)))
            checked += 1
    assert checked == 8  # six 3x3 convolutions of three blocks and two of the shortcuts


def test_batch_norms_start_at_weight_1_and_bias_0() -> None:
    norms = [m for m in WideResNet(3, depth=10, width=4).modules() if type(m) is nn.BatchNorm2d]
    assert len(norms) == 2 * 3 + 1
    for norm in norms:
        assert bool((norm.weight == 1).all()) and bool((norm.bias == 0).all())


def test_the_convolution_before_a_batch_norm_is_folded_with_it() -> None:
    model = WideResNet(3, depth=16, width=4)
    assert sum(isinstance(module, ConvBN) for module in model.modules()) == 6


def test_a_depth_that_makes_no_whole_blocks_is_refused() -> None:
    for depth in (4, 26, 30):
        with pytest.raises(ConfigError, match=rf"depth = 6 n \+ 4` must hold .* got {depth}"):
            WideResNet(3, depth=depth)
