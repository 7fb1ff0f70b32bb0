"""AutoAttack's Square attack alone. It uses no gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltat_tune.attacks.autoattack import (
    AA_NORMS,
    L2_SQUARE_SIDE,
    process_state_restored,
    square_attack_class,
)
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.heartbeat import beating_at_calls
from ltat_tune.errors import ConfigError

_FIRST_WINDOW = 0.8  # share of the pixels, as in AutoAttack standard
STANDARD_QUERIES = 5000  # as in AutoAttack standard


def square(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float,
    seed: int,
    queries: int = STANDARD_QUERIES,
    norm: str = "linf",
    fit_schedule: bool = False,
) -> Tensor:
    """Attack images by the Square attack: (N, C, H, W), (N,) -> (N, C, H, W).

    Square is a random search on the margin. It sees only logits, so useless gradients cannot
    mislead it. An image that is already misclassified, or that the attack does not break, is
    returned unchanged. All images are attacked as one batch in eval mode. The model's modes and
    parameters and the global random state are restored.

    Source: Andriushchenko2020Square, arXiv:1912.00049; pyautoattack 0.2.0.
    Deviations: without `fit_schedule`, as in AutoAttack standard, fewer queries are the first ones
        of its 5000, and windows shrink with the number of the query. In the paper they shrink
        faster if there are fewer queries. Images are attacked in float32.

    Args:
        model: images in [0, 1] to logits (N, K), deterministic in eval mode.
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1].
        seed: seed of the random windows. The result also depends on which images share the batch.
        queries: number of forwards for an image that withstands the attack, >= 1.
        norm: `linf` or `l2`.
        fit_schedule: windows shrink to their last size within `queries`, as in the paper, instead
            of within AutoAttack's 10000. This is stronger if there are few queries.

    Raises:
        ConfigError: the norm is unknown, there are no queries, or the norm is l2 and the sides are
            below 15 pixels, where the windows do not fit.
    """
    if norm not in AA_NORMS:
        raise ConfigError(f"unknown norm {norm!r} for square; choose from: {', '.join(AA_NORMS)}")
    if queries < 1:
        raise ConfigError(f"queries of square must be >= 1, got {queries}")
    if norm == "l2" and min(images.shape[-2:]) < L2_SQUARE_SIDE:
        raise ConfigError(
            f"square in l2 needs images with sides of at least {L2_SQUARE_SIDE} pixels, got "
            f"{images.shape[-2]}x{images.shape[-1]}; its windows do not fit into smaller images"
        )
    images, targets = images.detach().float(), targets.detach()
    if eps == 0 or len(images) == 0:
        return images.clone()
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        frozen(model, training=False),
        process_state_restored(),
    ):
        attack = square_attack_class()(
            beating_at_calls(model), norm=AA_NORMS[norm], n_queries=queries, eps=eps,
            p_init=_FIRST_WINDOW, seed=seed, resc_schedule=fit_schedule, device=images.device,
        )  # fmt: skip
        adv_images: Tensor = attack.perturb(images.clone(), targets.clone())
        return adv_images
