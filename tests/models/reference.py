"""The public definitions of the residual networks, layer by layer in plain PyTorch.

Layers carry the names of the public releases; `public_name` says which weight of ours is which.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.models import Classifier, PreActResNet18, ResNet18, WideResNet


def _conv(in_channels: int, out_channels: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, out_channels, side, stride=stride, padding=(side - 1) // 2, bias=False
    )


class PublicBlock(nn.Module):
    """bn1-conv1-bn2-conv2 around a sum: activations before (pre) or behind the convolutions."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, pre: bool) -> None:
        super().__init__()
        self.pre = pre
        self.bn1 = nn.BatchNorm2d(in_channels if pre else out_channels)
        self.conv1 = _conv(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv(out_channels, out_channels, 3)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(_conv(in_channels, out_channels, 1, stride))
            if not pre:
                self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.pre:
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(out + self.shortcut(x))
        activated = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return torch.add(out, self.shortcut(activated) if len(self.shortcut) > 0 else x)


class PublicNet(nn.Module):
    """conv1 (and bn1 where it leads), layer1 to layerS, (bn1 where it closes,) average, linear."""

    def __init__(
        self,
        *,
        in_channels: int,
        stem: int,
        widths: tuple[int, ...],
        blocks: int,
        num_classes: int,
        pre: bool,
        bn1: str,
    ) -> None:
        super().__init__()
        self.where = bn1
        self.conv1 = _conv(in_channels, stem, 3)
        if bn1 != "none":
            self.bn1 = nn.BatchNorm2d(stem if bn1 == "leads" else widths[-1])
        self.stages = len(widths)
        channels = stem
        for stage, width in enumerate(widths):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage >= 1 and block == 0 else 1
                layer.append(PublicBlock(channels, width, stride, pre=pre))
                channels = width
            self.add_module(f"layer{stage + 1}", layer)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features."""
        maps = self.conv1(images)
        if self.where == "leads":
            maps = F.relu(self.bn1(maps))
        for stage in range(self.stages):
            maps = getattr(self, f"layer{stage + 1}")(maps)
        if self.where == "closes":
            maps = F.relu(self.bn1(maps))
        features = F.avg_pool2d(maps, maps.shape[-1]).flatten(1)
        return self.linear(features), features


def public_net(model: Classifier, *, in_channels: int, blocks: int) -> PublicNet:
    """The public network with the weights and running statistics of `model`, as float64."""
    backbone = model.backbone
    assert isinstance(backbone, ResNet18 | PreActResNet18 | WideResNet)
    wide = isinstance(backbone, WideResNet)
    pre = not isinstance(backbone, ResNet18)
    width = backbone.out_features // (4 if wide else 8)
    closes = "closes" if wide or getattr(backbone, "bn", None) is not None else "none"
    net = PublicNet(
        in_channels=in_channels,
        stem=16 if wide else width,
        widths=tuple(width * factor for factor in ((1, 2, 4) if wide else (1, 2, 4, 8))),
        blocks=blocks,
        num_classes=model.num_classes,
        pre=pre,
        bn1=closes if pre else "leads",
    ).double()
    state = {
        public_name(name, pre=pre, blocks=blocks): value
        for name, value in model.state_dict().items()
        if name not in ("mean", "std")
    }
    net.load_state_dict(state, strict=True)
    return net


def public_name(name: str, *, pre: bool, blocks: int) -> str:
    """`backbone.stages.3.first.conv.weight` -> `layer2.1.conv1.weight` at 2 blocks a stage."""
    name = name.removeprefix("backbone.")
    if match := re.fullmatch(r"stages\.(\d+)\.(.+)", name):
        stage, block = divmod(int(match[1]), blocks)
        parts = (
            (("bn.", "bn1."), ("first.conv.", "conv1."), ("first.bn.", "bn2."),
             ("second.", "conv2."), ("shortcut.", "shortcut.0."))
            if pre
            else (("first.conv.", "conv1."), ("first.bn.", "bn1."), ("second.conv.", "conv2."),
                  ("second.bn.", "bn2."), ("shortcut.conv.", "shortcut.0."),
                  ("shortcut.bn.", "shortcut.1."))
        )  # fmt: skip
        for ours, public in parts:
            if match[2].startswith(ours):
                return f"layer{stage + 1}.{block}.{public}{match[2].removeprefix(ours)}"
        raise KeyError(name)
    for ours, public in (
        ("stem.conv.", "conv1."), ("stem.bn.", "bn1."), ("stem.", "conv1."), ("bn.", "bn1."),
        ("head.", "linear."),
    ):  # fmt: skip
        if name.startswith(ours):
            return public + name.removeprefix(ours)
    raise KeyError(name)
