"""Adversarial weight perturbation around any method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ltat_tune.attacks import TrainingAttack
from ltat_tune.attacks.frozen import still_statistics
from ltat_tune.methods.base import Method, StepOutput
from ltat_tune.models import Classifier

_TINY = 1e-20  # a layer without a gradient then keeps its weights


class AWP:
    """Trains at the worst weights within a distance of gamma times each layer's norm.

    On the adversarial images of the batch, v_l = gamma ||w_l|| d_l / (||d_l|| + 1e-20), where d_l
    is the gradient of the method's loss. The loss is computed at w + v, and the optimiser makes
    its step there. `StepOutput.after_update` then subtracts the same v. Only tensors that are
    named weight and have more than one dimension move, so BatchNorm and biases do not. v does not
    depend on the learning rate.

    Source: Wu2020Adversarial Eq. 8-11, arXiv:2004.05884; csdongxian/AWP.
    Deviations: the release computes d on a copy of the model. Here d is computed in place while
        BatchNorm's statistics are held still, which gives the same d. The AT variant of the
        release takes d from cross-entropy; here d comes from the method's own loss (the two are
        equal with cross-entropy).

    Args:
        method_of: builds the method for a given attack.
        attack: makes the adversarial images, once in each step.
        gamma: size of the perturbation as a share of each layer's norm, > 0.
    """

    def __init__(
        self,
        method_of: Callable[[TrainingAttack], Method],
        attack: TrainingAttack,
        *,
        gamma: float,
    ) -> None:
        self.method_of = method_of
        self.attack = attack
        self.gamma = gamma

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        adv_images = self.attack(model, images, targets, generator=generator)
        method = self.method_of(made_already(adv_images))

        def step() -> StepOutput:
            return method.training_step(
                model, images, targets, class_weights=class_weights, generator=generator
            )

        weights = [p for n, p in model.named_parameters() if n.endswith("weight") and p.ndim > 1]
        with still_statistics(model):
            gradients = torch.autograd.grad(step().loss, weights, allow_unused=True)
        pairs = zip(weights, gradients, strict=True)
        moves = [(w, self._perturbation(w, g)) for w, g in pairs if g is not None]
        _move(moves, 1)
        return replace(step(), after_update=lambda: _move(moves, -1))

    def _perturbation(self, weight: Tensor, gradient: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm
        length: Tensor = self.gamma * norm(weight.detach()) / (norm(gradient) + _TINY)
        return gradient * length


def _move(moves: list[tuple[nn.Parameter, Tensor]], sign: int) -> None:
    with torch.no_grad():
        for weight, perturbation in moves:
            weight.add_(perturbation, alpha=sign)


def made_already(adv_images: Tensor) -> TrainingAttack:
    """Return an attack that returns `adv_images`, for a method inside another method."""

    def attack(
        model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
    ) -> Tensor:
        return adv_images

    return attack
