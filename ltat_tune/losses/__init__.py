"""Losses on logits and features, and their class weights.

May import `config` alone. Models, attacks, methods and training import it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ltat_tune.config.sections import LossConfig
from ltat_tune.losses.cfa import cfa_radii, cfa_shares, smoothed_recalls
from ltat_tune.losses.classification import (
    BalancedSoftmax,
    CrossEntropy,
    EffectiveNumber,
    FocalLoss,
    weighted_images,
)
from ltat_tune.losses.consistency import (
    image_kl,
    kl_consistency,
    mart_consistencies,
    mart_consistency,
    mart_margin,
    mart_margins,
)
from ltat_tune.losses.dafa import bounded_weights, dafa_weights
from ltat_tune.losses.etf import etf_penalty
from ltat_tune.losses.faal import faal_coefficients, faal_weights
from ltat_tune.losses.margins import LDAMLoss, RoBalLoss
from ltat_tune.losses.rbl import rbl_weights
from ltat_tune.losses.reweighting import (
    class_balanced,
    class_weights,
    inverse,
    inverse_sqrt,
    under_represented,
)
from ltat_tune.losses.separation import separation_loss
from ltat_tune.losses.taet import class_losses, taet_terms
from ltat_tune.losses.tail import TailLoss, tail_classes
from ltat_tune.losses.wat import wat_costs, wat_weights

__all__ = [
    "LOSSES",
    "BalancedSoftmax",
    "CrossEntropy",
    "EffectiveNumber",
    "FocalLoss",
    "LDAMLoss",
    "RoBalLoss",
    "TailLoss",
    "bounded_weights",
    "build_loss",
    "cfa_radii",
    "cfa_shares",
    "class_balanced",
    "class_losses",
    "class_weights",
    "dafa_weights",
    "etf_penalty",
    "faal_coefficients",
    "faal_weights",
    "image_kl",
    "inverse",
    "inverse_sqrt",
    "kl_consistency",
    "mart_consistencies",
    "mart_consistency",
    "mart_margin",
    "mart_margins",
    "rbl_weights",
    "separation_loss",
    "smoothed_recalls",
    "taet_terms",
    "tail_classes",
    "under_represented",
    "wat_costs",
    "wat_weights",
    "weighted_images",
]

LOSSES: dict[str, Callable[[LossConfig, Tensor, float | None], nn.Module]] = {
    "cross_entropy": lambda config, counts, beta: CrossEntropy(
        label_smoothing=config.label_smoothing
    ),
    "focal": lambda config, counts, beta: FocalLoss(
        config.gamma,
        weight_inside=config.focal_weight == "inside",
        label_smoothing=config.label_smoothing,
    ),
    "effective_number": lambda config, counts, beta: EffectiveNumber(
        counts, beta=beta, label_smoothing=config.label_smoothing
    ),
    "ldam": lambda config, counts, beta: LDAMLoss(
        counts,
        max_margin=config.max_margin,
        scale=config.scale,
        label_smoothing=config.label_smoothing,
    ),
    "balanced_softmax": lambda config, counts, beta: BalancedSoftmax(
        counts, tau=config.tau, label_smoothing=config.label_smoothing
    ),
    "robal": lambda config, counts, beta: RoBalLoss(
        counts,
        scale=config.scale,
        base_margin=config.base_margin,
        margin_tau=config.margin_tau,
        tau=config.tau,
        label_smoothing=config.label_smoothing,
    ),
}


def build_loss(
    config: LossConfig, samples_per_class: Tensor, *, beta: float | None = 0.9999
) -> nn.Module:
    """Build the prediction loss `(logits (N, K), targets (N,), class_weights (K,) or None) -> ()`.

    Its buffers are on the device of `samples_per_class`.

    Args:
        config: the loss and its parameters.
        samples_per_class: training images per class, shape (K,), all >= 1.
        beta: effective-number parameter (`reweight.beta`), for `effective_number` only; None is
            (N - 1) / N with N the sum of the counts.
    """
    return LOSSES[config.name](config, samples_per_class, beta)
