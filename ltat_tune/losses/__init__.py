"""Losses on logits and features, and the class weights inside them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ltat_tune.config import LossConfig
from ltat_tune.losses.classification import BalancedSoftmax, CrossEntropy, FocalLoss, LDAMLoss
from ltat_tune.losses.reweighting import class_weights
from ltat_tune.losses.separation import separation_loss

__all__ = [
    "LOSSES",
    "BalancedSoftmax",
    "CrossEntropy",
    "FocalLoss",
    "LDAMLoss",
    "build_loss",
    "class_weights",
    "separation_loss",
]

LOSSES: dict[str, Callable[[LossConfig, Tensor], nn.Module]] = {
    "cross_entropy": lambda config, counts: CrossEntropy(),
    "focal": lambda config, counts: FocalLoss(config.gamma),
    "ldam": lambda config, counts: LDAMLoss(
        counts, max_margin=config.max_margin, scale=config.scale
    ),
    "balanced_softmax": lambda config, counts: BalancedSoftmax(counts, tau=config.tau),
}


def build_loss(config: LossConfig, samples_per_class: Tensor) -> nn.Module:
    """The prediction loss `(logits (N, K), targets (N,), class_weights (K,) or None) -> ()`.

    Its buffers lie on the device of `samples_per_class` (K,).
    """
    return LOSSES[config.name](config, samples_per_class)
