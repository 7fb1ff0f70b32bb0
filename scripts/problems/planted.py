"""Networks whose robust accuracy is not what PGD finds, for bench_fooled.py and its tests."""

from __future__ import annotations

from torch import Tensor

from ltat_tune.models.small_cnn import SmallCNN
from ltat_tune.plugins import param, register_model


class Quantised(SmallCNN):
    """`small_cnn` of images rounded to a few levels, so that its gradient is 0 everywhere.

    Args:
        in_channels: C of the images.
        width: that of `small_cnn`.
        levels: distances between the levels of a pixel in [0, 1].
    """

    def __init__(self, in_channels: int, *, width: int = 32, levels: int = 8) -> None:
        super().__init__(in_channels, width=width, stem="space_to_depth")
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((self.levels * images).round() / self.levels)


class Loud(SmallCNN):
    """`small_cnn` whose features, and so the logits, are larger when it is measured.

    Args:
        in_channels: C of the images.
        width: that of `small_cnn`.
        loudness: how many times as large.
    """

    def __init__(self, in_channels: int, *, width: int = 32, loudness: int = 1000) -> None:
        super().__init__(in_channels, width=width, stem="space_to_depth")
        self.loudness = loudness

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1 if self.training else self.loudness)


register_model(
    "loud_cnn", Loud,
    parameters={"loudness": param(1000, "times that it is louder when it is measured", ge=1)},
)  # fmt: skip
register_model(
    "quantised_cnn", Quantised,
    parameters={"levels": param(8, "distances between the levels of a pixel", ge=1)},
)  # fmt: skip
