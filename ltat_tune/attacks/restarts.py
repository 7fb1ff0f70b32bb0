"""Repeats an attack and keeps the worst result of each image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.objectives import ImageObjective
from ltat_tune.losses.precision import full_precision

# (images (N, ...) or their numbers, targets (N,), number of the attempt, from 0) -> adversarial
# images (N, C, H, W)
Attempt = Callable[[Tensor, Tensor, int], Tensor]


def worst_of_restarts(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    attempt: Attempt,
    restarts: int,
    objective: ImageObjective,
) -> Tensor:
    """Return the first attempt that fools the model, or else the one of highest loss.

    The result has shape (N, C, H, W). Once an attempt fools the model, the image is not attacked
    again, so later attempts have smaller batches. One restart is the attempt itself, to the last
    bit. Attempts are judged in eval mode, and the model's modes are restored.

    Args:
        model: images in [0, 1] to logits (N, K).
        images: the argument of `attempt`, which gets all rows first and then some of them: images,
            shape (N, C, H, W), or a substitute such as their numbers, shape (N,).
        targets: classes, shape (N,).
        attempt: attacks the images of its rows, with different noise in each attempt.
        restarts: number of attempts, >= 1.
        objective: the loss that ranks attempts if none fools the model.
    """
    worst = attempt(images, targets, 0)
    if restarts == 1:
        return worst
    with torch.no_grad(), frozen(model, training=False):
        highest, fooled = _judge(model, worst, targets, objective)
        for number in range(1, restarts):
            standing = (~fooled).nonzero().squeeze(1)
            if len(standing) == 0:
                break
            result = attempt(images[standing], targets[standing], number)
            losses, broke = _judge(model, result, targets[standing], objective)
            better = broke | (losses > highest[standing])
            chosen = standing[better]
            worst[chosen], highest[chosen] = result[better], losses[better]
            fooled[chosen] = broke[better]
    return worst


def _judge(
    model: nn.Module, adv_images: Tensor, targets: Tensor, objective: ImageObjective
) -> tuple[Tensor, Tensor]:
    """Return the losses (N,) and whether each image fools the model (N,)."""
    logits = full_precision(model(adv_images))
    return objective(logits, targets, None), logits.argmax(dim=1) != targets
