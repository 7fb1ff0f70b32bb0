"""Prediction losses that handicap the true class by a margin: LDAM and RoBal.

Reductions and label smoothing are those of `ltat_tune.losses.classification`. The smoothed target
is compared with the logits after the margin, which changes the true class alone.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.losses.classification import weighted_cross_entropy
from ltat_tune.losses.counts import checked_counts, log_prior
from ltat_tune.losses.precision import full_precision


def _handicapped(logits: Tensor, targets: Tensor, margins: Tensor) -> Tensor:
    """Return logits whose true class is lower by its margin: (N, K), (N,), (K,) -> (N, K)."""
    return logits - margins * F.one_hot(targets, logits.shape[1])


class LDAMLoss(nn.Module):
    """Cross-entropy on scaled logits whose true class is handicapped by a margin.

    The loss is CE(s (z - m_y e_y), y) with m_c = max_margin (N_min / N_c)^(1/4). With class
    weights it is the weighted mean.

    Source: Cao2019LDAM Eq. 12-13, arXiv:1906.07413; kaidic/LDAM-DRW@2536330 `LDAMLoss`.
    Deviations: z comes from the head that the model has. The LDAM-DRW release has a normalised
        head (`model.head: cosine`), the SRAT release a plain linear one.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        max_margin: margin of the rarest class, in logits.
        scale: s, multiplies the logits after the margin, no unit.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    margins: Tensor

    def __init__(
        self,
        samples_per_class: Tensor,
        *,
        max_margin: float = 0.5,
        scale: float = 30.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        counts = checked_counts(samples_per_class)
        margins = max_margin * (counts.min() / counts).pow(0.25)
        self.register_buffer("margins", margins.float())
        self.scale = scale
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        scaled = self.scale * _handicapped(full_precision(logits), targets, self.margins)
        return weighted_cross_entropy(
            scaled, targets, class_weights, label_smoothing=self.label_smoothing
        )


class RoBalLoss(nn.Module):
    """Cross-entropy on scaled cosines with a class-aware margin and the log class prior.

    The loss is CE(z, y) with z_j = s (cos_j - [j = y] m_y) + tau ln(N_j / N_max) and m_c =
    base_margin + (margin_tau / s) ln(N_c / N_min). Frequent classes get a larger margin. The
    prior, which is also added to the true class, lowers rare classes by more than that. With class
    weights it is the weighted mean.

    Source: Wu2021Adversarial, arXiv:2104.02703; wutong16/Adversarial_Long-Tail@ab2f3a7
        `MultiMarginLoss`. The defaults are its robust setting for CIFAR-10-LT at ratio 50.
    Deviations: the release accepts class weights but ignores them, and it edits the cosines in
        place when there is no margin; this class does neither. The prior is relative to that of
        the most frequent class, which is a constant shift.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        scale: s, multiplies the cosines after the margin, no unit.
        base_margin: m_0, margin of the rarest class, in cosines.
        margin_tau: tau_m, growth of the margin with the log count, no unit; 0 gives all classes
            the same margin.
        tau: tau_b, strength of the log prior, no unit; 0 turns it off.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    margins: Tensor
    shift: Tensor

    def __init__(
        self,
        samples_per_class: Tensor,
        *,
        scale: float = 10.0,
        base_margin: float = 0.1,
        margin_tau: float = 0.3,
        tau: float = 1.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        counts = checked_counts(samples_per_class)
        margins = base_margin + margin_tau / scale * (counts / counts.min()).log()
        self.register_buffer("margins", margins.float())
        self.register_buffer("shift", (tau * log_prior(counts)).float())
        self.scale = scale
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K) cosines, (N,), (K,) -> ()
        cosines = _handicapped(full_precision(logits), targets, self.margins)
        return weighted_cross_entropy(
            self.scale * cosines + self.shift,
            targets,
            class_weights,
            label_smoothing=self.label_smoothing,
        )
