"""A three-convolution backbone for small images (8x8 to 64x64)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.errors import ConfigError


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        # No bias: the BatchNorm behind it has one.
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _GridOfAverages(nn.Module):
    """Averages over a 2x2 grid, which make D independent of the image size; at 8x8, 2x2
    pooling."""

    def forward(self, maps: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, 2, 2)
        height, width = maps.shape[-2:]
        if height % 2 or width % 2:
            return F.adaptive_avg_pool2d(maps, 2)
        # The same function, but a fifth off the whole attack on a CPU, and repeatable on a GPU.
        return F.avg_pool2d(maps, (height // 2, width // 2))


class SmallCNN(nn.Module):
    """Three 3x3 convolutions, w - 2w (stride 2) - 2w channels, then a 2x2 grid of averages.

    The stride sits in the second convolution: a first one with a single input channel and
    stride 2 is slow in the input gradient, which every attack step needs (PERFORMANCE section 1).

    Args:
        in_channels: C of the images.
        width: w, channels of the first convolution.
    """

    MIN_SIDE = 4

    def __init__(self, in_channels: int, *, width: int = 32) -> None:
        super().__init__()
        self.out_features = 2 * width * 4
        self.layers = nn.Sequential(
            _conv_bn_relu(in_channels, width, stride=1),
            _conv_bn_relu(width, 2 * width, stride=2),
            _conv_bn_relu(2 * width, 2 * width, stride=1),
            _GridOfAverages(),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 8 * width)
        if min(images.shape[-2:]) < self.MIN_SIDE:
            raise ConfigError(
                f"small_cnn needs images of at least {self.MIN_SIDE}x{self.MIN_SIDE} pixels, "
                f"got {images.shape[-2]}x{images.shape[-1]}"
            )
        features: Tensor = self.layers(images)
        return features
