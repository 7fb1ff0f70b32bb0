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
    """`small_cnn` whose features, and so the logits, are 1000 times as large when it is measured.

    Args:
        in_channels: C of the images.
        width: that of `small_cnn`.
    """

    def __init__(self, in_channels: int, *, width: int = 32) -> None:
        super().__init__(in_channels, width=width, stem="space_to_depth")

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1 if self.training else 1000)


register_model("loud_cnn", Loud)
register_model(
    "quantised_cnn", Quantised,
    parameters={"levels": param(8, "distances between the levels of a pixel", ge=1)},
)  # fmt: skip
