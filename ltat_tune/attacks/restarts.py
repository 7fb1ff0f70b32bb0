"""The worst of several attempts, image by image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.objectives import ImageObjective
from ltat_tune.losses.precision import full_precision

# (images (N, ...) as the caller gave them, targets (N,), number of the attempt, from 0) ->
# adversarial images (N, C, H, W)
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
    """The first attempt that fools the model, else the one of the highest loss: (N, C, H, W).

    An image that is fooled is attacked no further, so that later attempts see smaller batches.
    One restart is the attempt itself, to the bit. Judged in eval mode; the model is left as found.

    Args:
        model: images in [0, 1] to logits (N, K).
        images: what `attempt` is given, whole and then rows of it: images, shape (N, C, H, W), or
            whatever stands for them, such as their numbers, shape (N,); nothing else reads it.
        targets: classes, shape (N,).
        attempt: attacks the images that it is given or given the numbers of, with other noise for
            each attempt.
        restarts: number of attempts, >= 1.
        objective: the loss that tells attempts apart where none fools the model.
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
            tried = attempt(images[standing], targets[standing], number)
            losses, broke = _judge(model, tried, targets[standing], objective)
            better = broke | (losses > highest[standing])
            chosen = standing[better]
            worst[chosen], highest[chosen] = tried[better], losses[better]
            fooled[chosen] = broke[better]
    return worst


def _judge(
    model: nn.Module, adv_images: Tensor, targets: Tensor, objective: ImageObjective
) -> tuple[Tensor, Tensor]:
    """Losses (N,) and whether the model is fooled (N,)."""
    logits = full_precision(model(adv_images))
    return objective(logits, targets, None), logits.argmax(dim=1) != targets
