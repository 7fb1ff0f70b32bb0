"""The objectives of attacks: logits (N, K) and targets (N,) to one loss per image (N,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# (logits (N, K), targets (N,), logits of the clean images (N, K) or None) -> (N,)
ImageObjective = Callable[[Tensor, Tensor, Tensor | None], Tensor]
LOGIT_SCALE = 10.0


def cross_entropy(logits: Tensor, targets: Tensor, clean_logits: Tensor | None) -> Tensor:
    """Return -log softmax of the label. Source: Madry2018Towards."""
    return F.cross_entropy(logits, targets, reduction="none")


def margin(logits: Tensor, targets: Tensor, clean_logits: Tensor | None) -> Tensor:
    """Return the largest other logit minus the label's logit.

    Source: Carlini2017Towards, f_6, without its floor at -kappa.
    Deviations: the releases of RoBal and AT-BSL have a floor at a confidence of 50, which is never
        reached in practice. With kappa 0 the gradient would vanish once an image is misclassified.
    """
    at_label = F.one_hot(targets, logits.shape[1]).bool()
    # a deterministic gather makes a GPU wait in its backward pass, which no graph can record
    label = logits.masked_fill(~at_label, 0).sum(dim=1)
    others = logits.masked_fill(at_label, torch.finfo(logits.dtype).min)
    return others.amax(dim=1) - label


def scaled_cross_entropy(logits: Tensor, targets: Tensor, clean_logits: Tensor | None) -> Tensor:
    """Return -log softmax of the label on ten times the logits, for evaluation.

    Small logits, such as cosines, make the softmax so even that the gradient of cross-entropy
    hardly depends on the label. The factor corrects this and changes no prediction.

    Source: Li2023Alleviating 5 (adaptive attack on RoBal); NISPLab/AT-BSL@23f433e (LSA).
    """
    return F.cross_entropy(LOGIT_SCALE * logits, targets, reduction="none")


def kl(logits: Tensor, targets: Tensor, clean_logits: Tensor | None) -> Tensor:
    """Return KL(softmax(clean) || softmax(adversarial)). It does not use the labels.

    Source: Zhang2019Theoretically Eq. 5, yaodongyu/TRADES.
    """
    assert clean_logits is not None
    log_clean, log_adv = clean_logits.log_softmax(dim=1), logits.log_softmax(dim=1)
    return (log_clean.exp() * (log_clean - log_adv)).sum(dim=1)


OBJECTIVES: dict[str, ImageObjective] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "kl": kl,
}
