"""A convolution with its BatchNorm as one module, which is one operation in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBN(nn.Module):
    """Convolution without bias, then BatchNorm; (N, C, H, W) -> (N, C', H', W').

    In eval mode the two are folded: w' = w * gamma / sqrt(var + eps) and b' = beta - mean * gamma
    / sqrt(var + eps), which is the same function up to round-off. An eval-mode attack of 10 to 20
    steps then has no cost for BatchNorm, neither forward nor backward. Folding passes over the
    weights once in each forward, and inside `folded_once` only once.

    Args:
        in_channels: C.
        out_channels: C'.
        kernel_size: side of the kernel; padding keeps the size at stride 1.
        stride: stride of the convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2,
            bias=False,
        )  # fmt: skip
        self.bn = nn.BatchNorm2d(out_channels)
        # Folded weights by the type that autocast asks for, None without autocast, and whether
        # they are in torch's default layout.
        self.folded: dict[tuple[torch.dtype | None, bool], tuple[Tensor, Tensor]] | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self.bn.training:
            normalised: Tensor = self.bn(self.conv(images))
            return normalised
        narrow = images.device.type == "cpu" and self._narrow(images)
        weight, bias = self._folded() if self.folded is None else self._kept_for(images, narrow)
        if narrow:
            images, weight = images.contiguous(), weight.contiguous()
        return F.conv2d(images, weight, bias, self.conv.stride, self.conv.padding)

    def _narrow(self, images: Tensor) -> bool:
        """Return whether a CPU is faster in torch's default layout, 1.2 to 1.7 times (oneDNN)."""
        return images.shape[-1] <= 4 and self.conv.in_channels > 256

    def _kept_for(self, images: Tensor, narrow: bool) -> tuple[Tensor, Tensor]:
        """Return the kept weights, cast and laid out once for all forwards under autocast."""
        assert self.folded is not None
        kind = images.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        if (dtype, narrow) not in self.folded:
            weight, bias = self.folded[None, False]
            weight = weight.contiguous() if narrow else weight
            self.folded[dtype, narrow] = (weight.to(dtype), bias.to(dtype))
        return self.folded[dtype, narrow]

    def _folded(self) -> tuple[Tensor, Tensor]:
        bn = self.bn
        assert bn.running_mean is not None and bn.running_var is not None
        scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
        return self.conv.weight * scale[:, None, None, None], bn.bias - bn.running_mean * scale


@contextmanager
def folded_once(model: nn.Module) -> Iterator[None]:
    """Make every eval-mode `ConvBN` of the model keep its folded weights inside the context.

    No weight or running statistic may change inside, so only attacks on a frozen model use it.
    """
    modules = [
        module
        for module in model.modules()
        # An outer `folded_once` discards the weights that it keeps.
        if isinstance(module, ConvBN) and not module.bn.training and module.folded is None
    ]
    try:
        for module in modules:
            module.folded = {(None, False): module._folded()}
        yield
    finally:
        for module in modules:
            module.folded = None


@contextmanager
def forgotten_folds(model: nn.Module) -> Iterator[None]:
    """Make the model inside the context as if no `folded_once` were around it."""
    modules = [(m, m.folded) for m in model.modules() if isinstance(m, ConvBN)]
    try:
        for module, _ in modules:
            module.folded = None
        yield
    finally:
        for module, folded in modules:
            module.folded = folded
