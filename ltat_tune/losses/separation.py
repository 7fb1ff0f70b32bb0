"""SRAT's feature separation loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.losses.precision import full_precision


def separation_loss(features: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Compute a supervised contrastive loss with one view per image: (N, D), (N,) -> ().

    The positives P(i) of an anchor i are the other images of its class in the batch. The loss of
    an anchor is log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip, where s_ij = <f_i, f_j> /
    temperature. The result is the mean over all anchors that have a positive, or 0 (with zero
    gradient) if there is none.

    Source: Wang2022Imbalanced Eq. 6; Khosla2020Supervised Eq. 2, arXiv:2004.11362.
    Deviations: as in SRAT's release, anchors without a positive are left out of the mean (Eq. 6
        divides by N). A batch without positives gives 0, where the release gives NaN.

    Args:
        features: L2-normalised, shape (N, D).
        targets: classes, shape (N,).
        temperature: divides the similarities, no unit, > 0.
    """
    features = full_precision(features)
    n = features.shape[0]
    itself = torch.eye(n, dtype=torch.bool, device=features.device)
    positive = (targets[:, None] == targets[None, :]) & ~itself  # (N, N)
    similarity = features @ features.T / temperature  # (N, N)
    # The lowest finite number, because -inf would give NaN for a batch of one image.
    others = similarity.masked_fill(itself, torch.finfo(similarity.dtype).min)
    positives = positive.sum(dim=1)  # (N,)
    mean_positive = (similarity * positive).sum(dim=1) / positives.clamp_min(1)
    anchors = positives > 0
    # Masks instead of indices keep shapes fixed, and no count is fetched from the device.
    losses = (others.logsumexp(dim=1) - mean_positive) * anchors
    return losses.sum() / anchors.sum().clamp_min(1)
