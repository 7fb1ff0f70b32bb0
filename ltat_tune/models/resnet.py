"""ResNet-18 with a 3x3 stem for CIFAR-sized images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.models.conv_bn import ConvBN


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, a projection if shapes change (He2016Deep Fig. 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = ConvBN(in_channels, out_channels, stride=stride)
        self.second = ConvBN(out_channels, out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvBN(in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C', H/stride, W/stride)
        out = F.relu(self.first(x), inplace=True)
        out = self.second(out)
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class ResNet18(nn.Module):
    """CIFAR ResNet-18: 3x3 stem without pooling, stages w-2w-4w-8w of two blocks each.

    Source: He2016Deep, arXiv:1512.03385, with the stem of the REAT and SRAT releases.
    Features are the averages of the last stage's maps after ReLU, D = 8 * width.

    Args:
        in_channels: C of the images.
        width: w, number of channels of the first stage.
    """

    def __init__(self, in_channels: int, *, width: int = 64) -> None:
        super().__init__()
        self.out_features = 8 * width
        self.stem = ConvBN(in_channels, width)
        stages: list[nn.Module] = []
        previous = width
        for channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            stages.append(BasicBlock(previous, channels, stride))
            stages.append(BasicBlock(channels, channels, 1))
            previous = channels
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 8 * width)
        maps: Tensor = self.stages(F.relu(self.stem(images), inplace=True))
        return maps.mean(dim=(2, 3))
