"""Prediction losses: logits (N, K) and targets (N,) to a scalar, class weights (K,) on request.

The reduction with class weights w is part of each loss. "Weighted mean" is torch's own: the sum of
w_y times the per-sample loss, divided by the batch's sum of w_y; a common factor on w cancels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.losses.counts import checked_counts
from ltat_tune.losses.precision import full_precision


def _cross_entropy(logits: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
    weights = None if class_weights is None else class_weights.to(logits)
    return F.cross_entropy(logits, targets, weight=weights)


class CrossEntropy(nn.Module):
    """Cross-entropy; with class weights, their weighted mean."""

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        return _cross_entropy(full_precision(logits), targets, class_weights)


class FocalLoss(nn.Module):
    """Mean of w_y (1 - p_y)^gamma CE: samples that are already right count less.

    Source: Lin2017Focal Eq. 4, arXiv:1708.02002.
    Deviations: the class weight stands outside the modulating factor and the mean is a plain one,
        so a common factor on the weights scales the loss. The LDAM-DRW and SRAT releases put the
        weight inside, p = exp(-w_y CE) (FACTS 0 F7 and section 4); without weights all three are
        equal.

    Args:
        gamma: focusing strength, no unit; 0 is cross-entropy.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        logits = full_precision(logits)
        ce = F.cross_entropy(logits, targets, reduction="none")  # (N,)
        wrong = 1 - torch.exp(-ce)
        # The floor keeps the gradient finite where p rounds to 1 and gamma < 1: 0^(gamma - 1) is
        # infinite, and infinity times 0 is NaN.
        losses = wrong.clamp_min(torch.finfo(ce.dtype).tiny).pow(self.gamma) * ce
        if class_weights is not None:
            losses = losses * class_weights.to(logits)[targets]
        return losses.mean()


class LDAMLoss(nn.Module):
    """Cross-entropy on scaled logits whose true class is handicapped by a margin.

    CE(s (z - m_y e_y), y) with m_c = max_margin (N_min / N_c)^(1/4); with class weights, their
    weighted mean.

    Source: Cao2019LDAM Eq. 12-13, arXiv:1906.07413; kaidic/LDAM-DRW@2536330 `LDAMLoss`.
    Deviations: z comes from a plain linear layer, as in the REAT and SRAT releases; LDAM's own
        uses a normalised one.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        max_margin: margin of the rarest class, in logits.
        scale: s, multiplies the logits after the margin, no unit.
    """

    margins: Tensor

    def __init__(
        self, samples_per_class: Tensor, *, max_margin: float = 0.5, scale: float = 30.0
    ) -> None:
        super().__init__()
        counts = checked_counts(samples_per_class)
        margins = max_margin * (counts.min() / counts).pow(0.25)
        self.register_buffer("margins", margins.float())
        self.scale = scale

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        logits = full_precision(logits)
        handicap = self.margins * F.one_hot(targets, logits.shape[1])  # (N, K)
        return _cross_entropy(self.scale * (logits - handicap), targets, class_weights)


class BalancedSoftmax(nn.Module):
    """Cross-entropy on logits shifted by the log class prior; with class weights, a weighted mean.

    Source: Ren2020Balanced Eq. 4, arXiv:2007.10740; checked against NISPLab/AT-BSL@23f433e `BSL`.
    Deviations: prior normalised to sum 1 (a constant shift; loss and gradient unchanged); a class
        without images is an error, where the releases count it as one image.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        tau: strength of the shift, no unit; 0 is plain cross-entropy.
    """

    shift: Tensor

    def __init__(self, samples_per_class: Tensor, *, tau: float = 1.0) -> None:
        super().__init__()
        counts = checked_counts(samples_per_class)
        self.register_buffer("shift", (tau * (counts / counts.sum()).log()).float())

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        return _cross_entropy(full_precision(logits) + self.shift, targets, class_weights)
