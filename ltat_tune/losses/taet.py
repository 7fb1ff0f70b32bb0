"""TAET's equalisation of the losses of classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses.precision import full_precision


def class_losses(
    logits: Tensor, targets: Tensor, num_classes: int, *, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of the images of each class, 0 for a class without: (N, K), (N,) -> (K,).

    Source: Wang2025TAET; BuhuiOK/TAET@a374adf `HARL`.
    Deviations: divides by the number of images, where the release adds 1e-10 to it.

    Args:
        logits: shape (N, K).
        targets: classes, shape (N,).
        num_classes: K.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """
    losses = F.cross_entropy(
        full_precision(logits), targets, reduction="none", label_smoothing=label_smoothing
    )
    # A masked sum, not a scatter: its sums have one order on every device.
    member = F.one_hot(targets, num_classes).to(losses)  # (N, K)
    return (losses[:, None] * member).sum(dim=0) / member.sum(dim=0).clamp_min(1)


def taet_terms(class_losses: Tensor) -> dict[str, Tensor]:
    """TAET's three terms of the class losses L: (K,) -> () each.

    bcl is their mean, hdl their variance (divided by K), rcel the sum of their squared shares
    L_c / (sum L + 1e-10), least (1 / K) when all are equal. A class that the batch lacks takes
    part with its 0: hdl and rcel then weigh on the classes that are there.

    Source: Wang2025TAET; BuhuiOK/TAET@a374adf `HARL`, which weighs each term by 0.1.
    """
    mean = class_losses.mean()
    shares = class_losses / (class_losses.sum() + 1e-10)
    return {
        "bcl": mean,
        "hdl": (class_losses - mean).square().mean(),
        "rcel": shares.square().sum(),
    }
