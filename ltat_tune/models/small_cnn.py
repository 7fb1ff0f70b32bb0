"""A three-convolution backbone for small images (8x8 to 64x64)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.models.conv_bn import ConvBN


class _GridOfAverages(nn.Module):
    """Averages over a 2x2 grid, so that D does not depend on the image size.

    For 8x8 images this is 2x2 pooling.
    """

    def forward(self, maps: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, 2, 2)
        height, width = maps.shape[-2:]
        if height % 2 or width % 2:
            return F.adaptive_avg_pool2d(maps, 2)
        # The same function, but the whole attack is a fifth faster on a CPU, and repeatable on a
        # GPU.
        return F.avg_pool2d(maps, (height // 2, width // 2))


# (in_channels, width) -> layers that halve the sides and give 2 * width channels.
STEMS: dict[str, Callable[[int, int], list[nn.Module]]] = {
    # The second convolution has the stride: with one input channel and stride 2, the input
    # gradient of the first one would be slow, and every attack step needs it.
    "conv": lambda channels, width: [
        ConvBN(channels, width),
        nn.ReLU(inplace=True),
        ConvBN(width, 2 * width, stride=2),
        nn.ReLU(inplace=True),
    ],
    "space_to_depth": lambda channels, width: [
        nn.PixelUnshuffle(2),
        ConvBN(4 * channels, 2 * width),
        nn.ReLU(inplace=True),
    ],
}


class SmallCNN(nn.Module):
    """A stem that halves the sides, another 3x3 convolution, and a 2x2 grid of averages.

    Args:
        in_channels: C of the images.
        width: w; the last maps have 2w channels.
        stem: `conv` has two convolutions w - 2w. `space_to_depth` turns 2x2 pixels into channels
            and has one convolution; it needs about 0.6 of the time on a CPU, and even sides.
    """

    MIN_SIDE = 4

    def __init__(self, in_channels: int, *, width: int = 32, stem: str = "conv") -> None:
        super().__init__()
        self._even_sides = stem == "space_to_depth"
        self.out_features = 2 * width * 4
        self.layers = nn.Sequential(
            *STEMS[stem](in_channels, width),
            ConvBN(2 * width, 2 * width),
            nn.ReLU(inplace=True),
            _GridOfAverages(),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 8 * width)
        if min(images.shape[-2:]) < self.MIN_SIDE:
            raise ConfigError(
                f"small_cnn needs images of at least {self.MIN_SIDE}x{self.MIN_SIDE} pixels, "
                f"got {images.shape[-2]}x{images.shape[-1]}"
            )
        if self._even_sides and (images.shape[-2] % 2 or images.shape[-1] % 2):
            raise ConfigError(
                "model.stem space_to_depth needs images whose sides are even, got "
                f"{images.shape[-2]}x{images.shape[-1]}; use stem conv"
            )
        features: Tensor = self.layers(images)
        return features
