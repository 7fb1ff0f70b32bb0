"""Square alone, the attack of AutoAttack that reads no gradient."""

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
from ltat_tune.errors import ConfigError

_FIRST_WINDOW = 0.8  # share of the pixels, as AutoAttack standard has it
STANDARD_QUERIES = 5000  # as many as AutoAttack standard makes


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
    """Adversarial images of the Square attack: (N, C, H, W), (N,) -> (N, C, H, W).

    A random search on the margin: it sees logits only, so that gradients that say nothing cannot
    mislead it. An image that is misclassified already, or that it does not break, comes back
    unchanged. All images are attacked as one batch, in eval mode; the model's modes, parameters
    and the global random state are left as found.

    Source: Andriushchenko2020Square, arXiv:1912.00049; pyautoattack 0.2.0.
    Deviations: without `fit_schedule`, as AutoAttack standard has it, fewer queries are the first
        of its own 5000, whose windows shrink by the number of the query; the paper's shrink
        faster where there are fewer. Images are attacked in float32.

    Args:
        model: images in [0, 1] to logits (N, K), deterministic in eval mode.
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1].
        seed: of the random windows; the result also depends on which images share the batch.
        queries: forwards for an image that withstands, >= 1.
        norm: `linf` or `l2`.
        fit_schedule: windows shrink to their last size within `queries`, as in the paper, and not
            within AutoAttack's 10000; the stronger choice where queries are few.

    Raises:
        ConfigError: another norm, no queries, or l2 below 15 pixels a side, where the windows do
            not fit.
    """
    if norm not in AA_NORMS:
        raise ConfigError(f"unknown norm {norm!r} for square; choose from: {', '.join(AA_NORMS)}")
    if queries < 1:
        raise ConfigError(f"queries of square must be >= 1, got {queries}")
    if norm == "l2" and min(images.shape[-2:]) < L2_SQUARE_SIDE:
        raise ConfigError(
            f"square in l2 needs images of {L2_SQUARE_SIDE} pixels a side or more, got "
            f"{images.shape[-2]}x{images.shape[-1]}; its windows do not fit below"
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
            model, norm=AA_NORMS[norm], n_queries=queries, eps=eps, p_init=_FIRST_WINDOW,
            seed=seed, resc_schedule=fit_schedule, device=images.device,
        )  # fmt: skip
        adv_images: Tensor = attack.perturb(images.clone(), targets.clone())
        return adv_images
