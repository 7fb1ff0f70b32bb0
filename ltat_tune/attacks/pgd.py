"""Projected gradient descent in an L-inf or L2 ball."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltat_tune.attacks.balls import BALLS, first_images
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.objectives import OBJECTIVES
from ltat_tune.errors import ConfigError
from ltat_tune.losses.precision import full_precision

# (logits (N, K), targets (N,)) -> (), to be raised
BatchObjective = Callable[[Tensor, Tensor], Tensor]
BN_MODES = ("eval", "train", "batch")


def pgd(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float | Tensor,
    step_size: float | Tensor,
    steps: int,
    norm: str = "linf",
    start: str | Tensor = "uniform",
    start_eps: float | None = None,
    objective: str | BatchObjective = "cross_entropy",
    class_weights: Tensor | None = None,
    momentum: float | None = None,
    bn_mode: str = "eval",
    generator: torch.Generator | None = None,
) -> Tensor:
    """PGD: (N, C, H, W), (N,) -> adversarial images (N, C, H, W).

    Each step goes `step_size` along the gradient's sign (L-inf) or direction (L2), back into the
    ball, and into [0, 1]. The objective is a sum over images in float32 (or more), so that no
    image's gradient is scaled down before `sign`.

    Contract: the result is detached, inside the ball and [0, 1]; `steps=0` returns the images; the
    mode of every submodule and `requires_grad` and `grad` of every parameter are left as found.
    Works under `torch.no_grad()` and `torch.inference_mode()`.

    Source: Madry2018Towards; GuanlinLee/REAT@a7909fd (`uniform`, `eval`);
        anonymous2share/SRAT@daa8352 (`uniform_clipped`, `train`); wutong16/Adversarial_Long-Tail
        @ab2f3a7 (`one_sided`); yaodongyu/TRADES (`gaussian`, `kl`); zhang-lilin/RobustLT@2d63979
        (`batch`); Dong2018Boosting, Algorithm 1 (`momentum`, there 1.0, start `none`).
    Deviations: only the images' gradient is computed; SRAT's release also accumulates, and later
        clears, the parameters'. The clean prediction of `kl` is computed once, where TRADES
        recomputes it in each step (equal in eval mode).

    Args:
        model: images in [0, 1] to logits (N, K).
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1]; of each image where it has shape (N,).
        step_size: length of a step, pixel units in [0, 1]; of each image where (N,).
        steps: number of gradient steps.
        norm: `linf` or `l2`, the latter over all pixels of an image.
        start: see `balls.first_images`; or the first images themselves, shape (N, C, H, W).
        start_eps: radius of the noise at the start; None is `eps`, which must then be a number.
        objective: `cross_entropy`, `margin`, `kl`, or a function of logits and targets that gives
            the number to raise.
        class_weights: factor on the loss of each image by its class, shape (K,).
        momentum: steps follow a sum of the gradients, each divided by its L1 norm over the image;
            before each one is added, the sum is multiplied by this. None follows the last
            gradient alone.
        bn_mode: mode of the model while it is attacked. `eval` changes no running statistics;
            `train` normalises by the batch and moves them in each step, as SRAT's release does;
            `batch` normalises by the batch and moves nothing.
        generator: source of the noise, which is drawn on the generator's own device and then
            copied to the images': a CPU generator gives the same start on every device, a
            generator of the images' device saves the copy. None is torch's global generator of the
            images' device.

    Raises:
        ConfigError: for an unknown `norm`, `start`, `objective` or `bn_mode`.
    """
    if norm not in BALLS:
        raise ConfigError(f"unknown norm {norm!r}; choose from: {', '.join(BALLS)}")
    if bn_mode not in BN_MODES:
        raise ConfigError(f"unknown bn_mode {bn_mode!r}; choose from: {', '.join(BN_MODES)}")
    if isinstance(objective, str) and objective not in OBJECTIVES:
        raise ConfigError(f"unknown objective {objective!r}; choose from: {', '.join(OBJECTIVES)}")
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        frozen(model, training=bn_mode != "eval", moves_statistics=bn_mode != "batch"),
    ):
        # Copies made outside inference mode can take part in autograd, whatever was given.
        images, targets = images.detach().clone(), targets.clone()
        if steps == 0:
            return images
        radius = eps if start_eps is None else start_eps
        if isinstance(radius, Tensor):
            raise ConfigError("start_eps must be given when eps has a value for each image")
        raised = _to_raise(model, images, targets, objective, class_weights)
        if isinstance(start, Tensor):
            adv_images = start.detach().to(images).clone()
        else:
            adv_images = first_images(images, radius, start=start, norm=norm, generator=generator)
        ball = BALLS[norm].around(images, _of_images(eps, images), _of_images(step_size, images))
        followed: float | Tensor = 0.0
        for _ in range(steps):
            adv_images.requires_grad_(True)
            (gradient,) = torch.autograd.grad(raised(model(adv_images)), adv_images)
            if momentum is not None:
                followed = gradient = momentum * followed + _of_unit_l1(gradient)
            # The graph is gone, so the leaf may be edited in place; the gradient may be a
            # broadcast view, so it may not.
            adv_images = ball.step(adv_images.requires_grad_(False), gradient)
        return adv_images


def _of_unit_l1(gradient: Tensor) -> Tensor:
    """Divided by its L1 norm over the image; the floor only keeps zeros zero, however small."""
    norms = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
    return gradient / norms.clamp_min(torch.finfo(gradient.dtype).tiny)


def _of_images(value: float | Tensor, images: Tensor) -> float | Tensor:
    """A number as it is; values of the images as (N, 1, 1, 1)."""
    return value.to(images)[:, None, None, None] if isinstance(value, Tensor) else value


def _to_raise(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    objective: str | BatchObjective,
    class_weights: Tensor | None,
) -> Callable[[Tensor], Tensor]:
    """Logits (N, K) to the number that the attack raises, shape ()."""
    if not isinstance(objective, str):
        own = objective
        return lambda logits: own(full_precision(logits), targets)
    of_images = OBJECTIVES[objective]
    clean_logits: Tensor | None = None
    if objective == "kl":
        with torch.no_grad():
            clean_logits = full_precision(model(images))
    if class_weights is None:
        return lambda logits: of_images(full_precision(logits), targets, clean_logits).sum()
    weights = class_weights.to(images.device)[targets]
    return lambda logits: (
        of_images(full_precision(logits), targets, clean_logits) * weights
    ).sum()
