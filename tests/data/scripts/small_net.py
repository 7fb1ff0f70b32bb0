"""The scripts' network for our evaluation: its layers without the last one."""

from torch import Tensor, nn

from ltat_tune.plugins import register_model


class SmallNetBackbone(nn.Module):
    """The convolution of the scripts' SmallNet."""

    out_features = 8 * 4 * 4

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images).flatten(1)
        return features


register_model("small_net", SmallNetBackbone)
