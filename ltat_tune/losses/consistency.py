"""Distances between the predictions on clean and on adversarial images: TRADES, RoBal, MART."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses.precision import full_precision


def image_kl(clean_logits: Tensor, adv_logits: Tensor, floor: float = 0.0) -> Tensor:
    """Return KL(p || q + floor), p clean and q adversarial: (N, K), (N, K) -> (N,)."""
    clean_logits, adv_logits = full_precision(clean_logits), full_precision(adv_logits)
    log_p = F.log_softmax(clean_logits, dim=1)
    # Without a floor, the logarithm of a softmax that rounds to 0 would be -inf.
    log_q = (
        (adv_logits.softmax(dim=1) + floor).log() if floor else F.log_softmax(adv_logits, dim=1)
    )
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def kl_consistency(clean_logits: Tensor, adv_logits: Tensor, *, floor: float = 0.0) -> Tensor:
    """Return the mean over images of KL(softmax(clean) || softmax(adv)): (N, K), (N, K) -> ().

    The gradient flows through both predictions.

    Source: Zhang2019Theoretically Eq. 5, arXiv:1901.08573 (TRADES);
        wutong16/Adversarial_Long-Tail@ab2f3a7 `add_reg_train` (RoBal: on cosines without scale,
        `floor` 1e-12).

    Args:
        clean_logits: logits of the clean images, shape (N, K).
        adv_logits: logits of the adversarial images, shape (N, K).
        floor: added to softmax(adv) inside the logarithm, no unit, >= 0; 0 is exact.
    """
    return image_kl(clean_logits, adv_logits, floor).mean()


def mart_margins(adv_logits: Tensor, targets: Tensor) -> Tensor:
    """Return the terms of `mart_margin` by image, (N,)."""
    probabilities = full_precision(adv_logits).softmax(dim=1)
    true = F.one_hot(targets, probabilities.shape[1]).bool()
    wrong = probabilities.masked_fill(true, -1).amax(dim=1)  # (N,); max would make a GPU wait
    return -(1.0001 - wrong + 1e-12).log()


def mart_margin(adv_logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -log(1.0001 - q_k + 1e-12), where k is the likeliest wrong class.

    Shapes are (N, K), (N,) -> (). Together with cross-entropy on the adversarial images it forms
    MART's boosted cross-entropy.

    Source: Wang2020Improving (BCE); YisenWang/MART@2d83e17 `mart_loss` (the constants).
    """
    return mart_margins(adv_logits, targets).mean()


def mart_consistencies(clean_logits: Tensor, adv_logits: Tensor, targets: Tensor) -> Tensor:
    """Return the terms of `mart_consistency` by image, (N,)."""
    clean_logits, adv_logits = full_precision(clean_logits), full_precision(adv_logits)
    at_label = F.one_hot(targets, clean_logits.shape[1]).bool()
    true = clean_logits.softmax(dim=1).masked_fill(~at_label, 0).sum(dim=1)  # (N,)
    return image_kl(clean_logits, adv_logits, 1e-12) * (1.0000001 - true)


def mart_consistency(clean_logits: Tensor, adv_logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of KL(p || q) (1.0000001 - p_y), where log q is log(q + 1e-12).

    Shapes are (N, K), (N, K), (N,) -> (). p is the clean and q the adversarial prediction. The
    gradient flows through both and through p_y.

    Source: Wang2020Improving Eq. 11; YisenWang/MART@2d83e17 `mart_loss` (the constants).
    """
    return mart_consistencies(clean_logits, adv_logits, targets).mean()
