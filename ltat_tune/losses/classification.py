"""Prediction losses: logits (N, K), targets (N,) and optional class weights (K,) to a scalar.

Each loss defines its own reduction with class weights w. The "weighted mean" is the sum of w_y
times the loss of each image, divided by the batch's sum of w_y; a common factor on w cancels.

With `label_smoothing` s, the target is 1 - s on the true class plus s / K on each of the K
classes. Every loss that contains a cross-entropy (CE) uses this target. An image keeps the weight
of its true class. torch's own `cross_entropy` weighs the smoothed share by the other classes'
weights instead, so that with steep weights the smoothing would outweigh the label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.losses.counts import checked_counts, log_prior
from ltat_tune.losses.precision import full_precision
from ltat_tune.losses.reweighting import class_balanced


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None, *, label_smoothing: float
) -> Tensor:
    """Return the (weighted) mean cross-entropy: (N, K), (N,), (K,) or None -> ()."""
    if class_weights is None:
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    weights = class_weights.to(logits)
    if label_smoothing == 0:
        return F.cross_entropy(logits, targets, weight=weights)
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    weights = weights[targets]  # (N,)
    return (weights * losses).sum() / weights.sum()


def weighted_images(loss: nn.Module, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over images of w_y times the image's loss: (N, K), (N,), (K,) -> ().

    It is not divided by the sum of weights, as the weighted mean of most losses is.

    Args:
        loss: a prediction loss of this package without class weights of its own.
        logits: shape (N, K).
        targets: classes, shape (N,).
        weights: shape (K,), > 0 for every class in `targets`.
    """
    value: Tensor = loss(logits, targets, weights)
    if isinstance(loss, FocalLoss):  # a plain mean already
        return value
    return value * weights.to(value)[targets].mean()


class CrossEntropy(nn.Module):
    """Mean cross-entropy; with class weights, the weighted mean.

    Source: Szegedy2016Rethinking section 7 (label smoothing), arXiv:1512.00567.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        return weighted_cross_entropy(
            full_precision(logits), targets, class_weights, label_smoothing=self.label_smoothing
        )


class FocalLoss(nn.Module):
    """Mean of w_y (1 - p)^gamma CE with p = exp(-CE). Images that are already right count less.

    Source: Lin2017Focal Eq. 4, arXiv:1708.02002. `weight_inside`: kaidic/LDAM-DRW@2536330
        `focal_loss`; anonymous2share/SRAT@daa8352.
    Deviations: by default the class weight stands outside the modulating factor. The two releases
        put it inside, p = exp(-w_y CE). Both forms take a plain mean, so a common factor on the
        weights scales the loss (and, inside, changes its shape). Without weights they are equal.
        With label smoothing, p is exp(-CE) for the smoothed target. The loss then rises with CE
        alone, so that its minimum is still at the smoothed target.

    Args:
        gamma: focusing strength, no unit; 0 is cross-entropy.
        weight_inside: class weights also multiply CE in p, as in the releases.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    def __init__(
        self, gamma: float = 1.0, *, weight_inside: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.weight_inside = weight_inside
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        logits = full_precision(logits)
        ce = F.cross_entropy(
            logits, targets, reduction="none", label_smoothing=self.label_smoothing
        )  # (N,)
        weighted = ce if class_weights is None else class_weights.to(logits)[targets] * ce
        wrong = 1 - torch.exp(-(weighted if self.weight_inside else ce))
        # The floor keeps the gradient finite where p rounds to 1 and gamma < 1: 0^(gamma - 1) is
        # infinite, and infinity times 0 is NaN.
        losses = wrong.clamp_min(torch.finfo(ce.dtype).tiny).pow(self.gamma) * weighted
        return losses.mean()


class EffectiveNumber(nn.Module):
    """Weighted mean of cross-entropy with class weights 1 / E_c from the first epoch on.

    E_c = (1 - beta^N_c) / (1 - beta) is the effective number of class c. Class weights that are
    passed to `forward` multiply these weights.

    Source: Cui2019Class Eq. 2, arXiv:1901.05555; REAT's EN.
    Deviations: Cui et al. scale the weights to the sum K, which does not change a weighted mean.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        beta: in [0, 1); 0 weighs all classes alike, None is (N - 1) / N where N is the sum of the
            counts, as in REAT 4.1.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    weights: Tensor

    def __init__(
        self, samples_per_class: Tensor, *, beta: float | None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        weights = class_balanced(checked_counts(samples_per_class), beta)
        self.register_buffer("weights", weights.float())
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        weights = self.weights if class_weights is None else self.weights * class_weights
        return weighted_cross_entropy(
            full_precision(logits), targets, weights, label_smoothing=self.label_smoothing
        )


class BalancedSoftmax(nn.Module):
    """Cross-entropy on logits shifted by the log class prior; with class weights, a weighted mean.

    Source: Ren2020Balanced Eq. 4, arXiv:2007.10740; checked against NISPLab/AT-BSL@23f433e `BSL`.
    Deviations: the prior is relative to that of the most frequent class. This shifts all logits by
        a constant, which changes neither the loss nor its gradient, and with equal counts the loss
        is cross-entropy to the last bit. A class without images is an error, where the releases
        count it as one image.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        tau: strength of the shift, no unit; 0 is plain cross-entropy.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    shift: Tensor

    def __init__(
        self, samples_per_class: Tensor, *, tau: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        counts = checked_counts(samples_per_class)
        self.register_buffer("shift", (tau * log_prior(counts)).float())
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor:  # (N, K), (N,), (K,) -> ()
        shifted = full_precision(logits) + self.shift
        return weighted_cross_entropy(
            shifted, targets, class_weights, label_smoothing=self.label_smoothing
        )
