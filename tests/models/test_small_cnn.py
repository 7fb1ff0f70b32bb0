"""The three-convolution backbone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ltat_tune.errors import ConfigError
from ltat_tune.models import SmallCNN


@pytest.mark.parametrize("side", [4, 5, 8, 17, 28, 32, 64])
def test_features_have_8_times_width_entries_at_every_image_size(side: int) -> None:
    features = SmallCNN(3, width=4)(torch.rand(2, 3, side, side + 1))
    assert features.shape == (2, 32)
    assert bool((features >= 0).all())


@pytest.mark.parametrize("side", [8, 10, 32])
def test_the_grid_is_adaptive_average_pooling(side: int) -> None:
    model = SmallCNN(1, width=4).eval()
    images = torch.rand(2, 1, side, side)
    maps = model.layers[:6](images)
    expected = F.adaptive_avg_pool2d(maps, 2).flatten(1)
    assert torch.allclose(model(images), expected, atol=1e-6)


def test_the_parameter_count_at_width_32_is_what_the_shapes_give() -> None:
    # Weights 9 (32 + 32 * 64 + 64 * 64) = 55584 and 2 (32 + 64 + 64) = 320 of BatchNorm.
    count = sum(parameter.numel() for parameter in SmallCNN(1, width=32).parameters())
    assert count == 55904


def test_every_convolution_is_followed_by_batch_norm() -> None:
    kinds = [type(m) for m in SmallCNN(1).modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d] * 3


def test_too_small_images_are_refused_with_their_size() -> None:
    with pytest.raises(ConfigError, match="at least 4x4 pixels, got 3x8"):
        SmallCNN(1)(torch.rand(1, 1, 3, 8))
