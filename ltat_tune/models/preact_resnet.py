"""Pre-activation residual blocks, and a ResNet-18 that consists of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.models.conv_bn import ConvBN


class PreActBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions (He2016Identity Fig. 4e).

    Where shapes change, the shortcut is a 1x1 convolution of the first activation. Elsewhere it is
    the input of the block.

    The first convolution and the BatchNorm after it form one `ConvBN`. The first BatchNorm follows
    a sum, and the second convolution feeds a sum, so neither can be folded.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.first = ConvBN(in_channels, out_channels, stride=stride)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C', H/stride, W/stride)
        activated = F.relu(self.bn(x), inplace=True)
        out: Tensor = self.second(F.relu(self.first(activated), inplace=True))
        out += x if self.shortcut is None else self.shortcut(activated)
        return out


def preact_stages(in_channels: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    """Build stages of `blocks` blocks each. All stages but the first halve the sides.

    Args:
        in_channels: number of channels of the stem.
        widths: number of channels of each stage.
        blocks: number of blocks in each stage.
    """
    layers: list[nn.Module] = []
    for stage, channels in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(PreActBlock(in_channels, channels, stride))
            in_channels = channels
    return nn.Sequential(*layers)


class PreActResNet18(nn.Module):
    """CIFAR pre-activation ResNet-18: 3x3 stem, stages w-2w-4w-8w of two blocks each.

    Features are the averages of the last stage's maps, D = 8 * width. Without `final_bn` they are
    sums of convolutions, so they may be negative.

    Source: He2016Identity, arXiv:1603.05027, as defined by kuangliu/pytorch-cifar, the common
        definition for CIFAR: 11,171,146 parameters for 10 classes.
    Deviations: that definition drops the BatchNorm and ReLU that the paper has after the last
        block; `final_bn` restores them. The average is over the whole map instead of 4x4, so
        64x64 images give the same number of features.

    Args:
        in_channels: C of the images.
        width: w, number of channels of the first stage.
        final_bn: adds BatchNorm and ReLU before the average, as in the paper and in the
            Tiny-ImageNet definition of imrahulr/hat@2d8fae7. They have 2 * 8 * width parameters.
    """

    def __init__(self, in_channels: int, *, width: int = 64, final_bn: bool = False) -> None:
        super().__init__()
        self.out_features = 8 * width
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.stages = preact_stages(width, [width, 2 * width, 4 * width, 8 * width], 2)
        self.bn = nn.BatchNorm2d(self.out_features) if final_bn else None

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 8 * width)
        maps: Tensor = self.stages(self.stem(images))
        if self.bn is not None:
            maps = F.relu(self.bn(maps), inplace=True)
        return maps.mean(dim=(2, 3))
