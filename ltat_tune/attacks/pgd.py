"""Projected gradient descent in an L-inf or L2 ball."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltat_tune.attacks.balls import BALLS, first_images
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.heartbeat import beat
from ltat_tune.attacks.objectives import OBJECTIVES
from ltat_tune.errors import ConfigError
from ltat_tune.losses.precision import full_precision

# (logits (N, K), targets (N,)) -> (), which the attack raises
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
    """Attack images by PGD: (N, C, H, W), (N,) -> adversarial images (N, C, H, W).

    Each step moves by `step_size` along the gradient's sign (L-inf) or direction (L2), and then
    back into the ball and into [0, 1]. The objective is a sum over images in float32 (or more), so
    that no image's gradient is scaled down before `sign`.

    Contract: the result is detached and lies inside the ball and [0, 1]. `steps=0` returns the
    images. The mode of every submodule and `requires_grad` and `grad` of every parameter are
    restored. The function works under `torch.no_grad()` and `torch.inference_mode()`.

    Source: Madry2018Towards; GuanlinLee/REAT@a7909fd (`uniform`, `eval`);
        anonymous2share/SRAT@daa8352 (`uniform_clipped`, `train`); wutong16/Adversarial_Long-Tail
        @ab2f3a7 (`one_sided`); yaodongyu/TRADES (`gaussian`, `kl`); zhang-lilin/RobustLT@2d63979
        (`batch`); Dong2018Boosting, Algorithm 1 (`momentum`, there 1.0, start `none`).
    Deviations: only the gradient of the images is computed. SRAT's release also accumulates that
        of the parameters and clears it later. The clean prediction of `kl` is computed once;
        TRADES recomputes it in each step (the two are equal in eval mode).

    Args:
        model: images in [0, 1] to logits (N, K).
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1]: a number, or one value per image (N,).
        step_size: length of a step, pixel units in [0, 1]: a number, or one value per image (N,).
        steps: number of gradient steps.
        norm: `linf` or `l2`, the latter over all pixels of an image.
        start: see `balls.first_images`; or the first images themselves, shape (N, C, H, W).
        start_eps: radius of the noise at the start; None is `eps`, which must then be a number.
        objective: `cross_entropy`, `margin`, `kl`, or a function of logits and targets that
            returns the number to raise.
        class_weights: factor on the loss of each image by its class, shape (K,).
        momentum: factor on the sum of past gradients before the next gradient is added. Each
            gradient is divided by its L1 norm over the image, and steps follow the sum. None
            follows the last gradient alone.
        bn_mode: mode of the model while it is attacked. `eval` changes no running statistics.
            `train` normalises by the batch and updates them in each step, as in SRAT's release.
            `batch` normalises by the batch and updates nothing.
        generator: source of the noise. It draws on its own device, and the noise is then copied to
            the images' device. A CPU generator gives the same start on every device; a generator
            on the images' device saves the copy. None is torch's global generator of the images'
            device.

    Raises:
        ConfigError: `norm`, `start`, `objective` or `bn_mode` is unknown.
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
        # Copies made outside inference mode can take part in autograd, whatever the originals are.
        images, targets = images.detach().clone(), targets.clone()
        if steps == 0:
            return images
        radius = eps if start_eps is None else start_eps
        if isinstance(radius, Tensor):
            raise ConfigError("start_eps must be given when eps has a value for each image")
        goal = _to_raise(model, images, targets, objective, class_weights)
        if isinstance(start, Tensor):
            adv_images = start.detach().to(images).clone()
        else:
            adv_images = first_images(images, radius, start=start, norm=norm, generator=generator)
        ball = BALLS[norm].around(images, _of_images(eps, images), _of_images(step_size, images))
        velocity: float | Tensor = 0.0
        for _ in range(steps):
            beat()
            adv_images.requires_grad_(True)
            (gradient,) = torch.autograd.grad(goal(model(adv_images)), adv_images)
            if momentum is not None:
                velocity = gradient = momentum * velocity + _of_unit_l1(gradient)
            # The leaf may be edited in place, because its graph is no longer needed. The gradient
            # may be a broadcast view, so it must not be edited.
            adv_images = ball.step(adv_images.requires_grad_(False), gradient)
        return adv_images


def _of_unit_l1(gradient: Tensor) -> Tensor:
    """Divide a gradient by its L1 norm over each image. The floor only keeps zeros at zero."""
    norms = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
    return gradient / norms.clamp_min(torch.finfo(gradient.dtype).tiny)


def _of_images(value: float | Tensor, images: Tensor) -> float | Tensor:
    """Return a number unchanged, and values per image as (N, 1, 1, 1)."""
    return value.to(images)[:, None, None, None] if isinstance(value, Tensor) else value


def _to_raise(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    objective: str | BatchObjective,
    class_weights: Tensor | None,
) -> Callable[[Tensor], Tensor]:
    """Return a function from logits (N, K) to the number that the attack raises, shape ()."""
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
