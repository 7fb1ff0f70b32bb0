"""TAET's terms, which equalise the losses of the classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses.precision import full_precision


def class_losses(
    logits: Tensor, targets: Tensor, num_classes: int, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy of each class, (K,); 0 for a class without images.

    Source: Wang2025TAET; BuhuiOK/TAET@a374adf `HARL`.
    Deviations: the sum is divided by the number of images, to which the release adds 1e-10.

    Args:
        logits: logits of the batch, shape (N, K).
        targets: classes, shape (N,).
        num_classes: K.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """
    losses = F.cross_entropy(
        full_precision(logits), targets, reduction="none", label_smoothing=label_smoothing
    )
    # Unlike a scatter, a masked sum has the same order on every device.
    member = F.one_hot(targets, num_classes).to(losses)  # (N, K)
    return (losses[:, None] * member).sum(dim=0) / member.sum(dim=0).clamp_min(1)


def taet_terms(class_losses: Tensor) -> dict[str, Tensor]:
    """Return TAET's terms `bcl`, `hdl` and `rcel` of the class losses L (K,), shape () each.

    bcl is the mean of the losses, hdl their variance (divided by K), and rcel the sum of their
    squared shares L_c / (sum L + 1e-10), which is smallest (1 / K) when all are equal. A class
    that the batch lacks counts with a loss of 0, so that hdl and rcel then act on the others.

    Source: Wang2025TAET; BuhuiOK/TAET@a374adf `HARL`, which weighs each term by 0.1.
    """
    mean = class_losses.mean()
    shares = class_losses / (class_losses.sum() + 1e-10)
    return {
        "bcl": mean,
        "hdl": (class_losses - mean).square().mean(),
        "rcel": shares.square().sum(),
    }
