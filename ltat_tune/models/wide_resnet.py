"""Wide residual networks for CIFAR-sized images: WRN-28-10, WRN-34-10."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.models.preact_resnet import preact_stages

STEM_CHANNELS = 16  # for every width


class WideResNet(nn.Module):
    """WRN-depth-k of width 16k: 3x3 stem, three stages w-2w-4w of (depth - 4) / 6 blocks each.

    Features are the averages of the last stage's maps after BatchNorm and ReLU, D = 4 * width. The
    weights of a convolution with side k and C' output channels start from a normal distribution
    with standard deviation sqrt(2 / (k k C')).

    Source: Zagoruyko2016Wide, arXiv:1605.07146, as defined by GuanlinLee/REAT@a7909fd (WRN-28-10),
        yaodongyu/TRADES and RoBal@ab2f3a7 (WRN-34-10). There is no dropout: REAT's is commented
        out, and the others have a rate of 0.
    Deviations: TRADES registers its first stage twice and never runs the copy, which is left out
        here. The bias of the linear head starts as in the other networks, not at 0. The average is
        over the whole map, as in REAT, not over 8x8.

    Args:
        in_channels: C of the images.
        depth: number of convolutions including shortcuts; 6 n + 4 for n blocks per stage.
        width: w, number of channels of the first stage; 160 is the published factor 10.
    """

    def __init__(self, in_channels: int, *, depth: int, width: int = 160) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ConfigError(f"`depth = 6 n + 4` must hold for some n >= 1, got {depth}")
        self.out_features = 4 * width
        self.stem = nn.Conv2d(in_channels, STEM_CHANNELS, 3, padding=1, bias=False)
        self.stages = preact_stages(
            STEM_CHANNELS, [width, 2 * width, 4 * width], blocks=(depth - 4) // 6
        )
        self.bn = nn.BatchNorm2d(self.out_features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 4 * width)
        maps: Tensor = self.stages(self.stem(images))
        return F.relu(self.bn(maps), inplace=True).mean(dim=(2, 3))
