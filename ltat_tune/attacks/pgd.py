"""Projected gradient descent in the L-inf ball."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.errors import ConfigError
from ltat_tune.losses.precision import full_precision

Start = Literal["none", "uniform", "uniform_clipped"]
BNMode = Literal["eval", "train"]


def _first_images(
    images: Tensor, eps: float, start: str, generator: torch.Generator | None
) -> Tensor:
    """A new tensor: the images, or the images plus noise in the ball."""
    if start == "none":
        return images.clone()
    device = images.device if generator is None else generator.device
    noise = torch.empty(images.shape, dtype=images.dtype, device=device)
    noise.uniform_(-eps, eps, generator=generator)
    first = images + noise.to(images.device)
    return first.clamp_(0, 1) if start == "uniform_clipped" else first


def pgd(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    start: Start = "uniform",
    bn_mode: BNMode = "eval",
    generator: torch.Generator | None = None,
) -> Tensor:
    """L-inf PGD on cross-entropy: (N, C, H, W), (N,) -> adversarial images (N, C, H, W).

    Each step goes `step_size` along the gradient's sign, back into the ball, and into [0, 1]. The
    loss is a sum in float32 (or more), so that no image's gradient is scaled down before `sign`
    (FACTS F1).

    Contract: the result is detached, inside the ball and [0, 1]; `steps=0` returns the images; the
    mode of every submodule and `requires_grad` and `grad` of every parameter are left as found.
    Works under `torch.no_grad()` and `torch.inference_mode()`.

    Source: Madry2018Towards; GuanlinLee/REAT@a7909fd (`uniform`, `eval`);
        anonymous2share/SRAT@daa8352 (`uniform_clipped`, `train`).
    Deviations: only the images' gradient is computed; SRAT's release also accumulates, and later
        clears, the parameters'.

    Args:
        model: images in [0, 1] to logits (N, K).
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1].
        step_size: length of a step, pixel units in [0, 1].
        steps: number of gradient steps.
        start: `none`; `uniform`, noise in the ball, not clipped to [0, 1] before the first
            gradient; `uniform_clipped`, clipped.
        bn_mode: mode of the model while it is attacked. `eval` changes no running statistics;
            `train` normalises by the batch and moves them in each step, as SRAT's release does.
        generator: source of the noise, which is drawn on the generator's own device and then
            copied to the images': a CPU generator gives the same start on every device, a
            generator of the images' device saves the copy. None is torch's global generator of the
            images' device.

    Raises:
        ConfigError: for an unknown `start` or `bn_mode`.
    """
    if start not in ("none", "uniform", "uniform_clipped"):
        raise ConfigError(f"unknown start {start!r}; choose from: none, uniform, uniform_clipped")
    if bn_mode not in ("eval", "train"):
        raise ConfigError(f"unknown bn_mode {bn_mode!r}; choose from: eval, train")
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        frozen(model, training=bn_mode == "train"),
    ):
        # Copies made outside inference mode can take part in autograd, whatever was given.
        images, targets = images.detach().clone(), targets.clone()
        if steps == 0:
            return images
        adv_images = _first_images(images, eps, start, generator)
        # Images lie in the ball and in [0, 1], so one clamp projects to both.
        low, high = (images - eps).clamp_(min=0), (images + eps).clamp_(max=1)
        for _ in range(steps):
            adv_images.requires_grad_(True)
            loss = F.cross_entropy(full_precision(model(adv_images)), targets, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adv_images)
            # The graph is gone, so the leaf may be edited in place; the gradient may be a
            # broadcast view, so it may not.
            adv_images.requires_grad_(False)
            adv_images.add_(gradient.sign(), alpha=step_size).clamp_(low, high)
        return adv_images
