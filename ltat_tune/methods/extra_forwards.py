"""Forwards that a release makes and that only move BatchNorm's running statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.methods.awp import made_already
from ltat_tune.methods.base import Method, StepOutput
from ltat_tune.models import Classifier


class ExtraForwards:
    """A method with additional train-mode forwards, without gradients.

    `clean_before` forwards the clean images before the loss (TAET's release). `adv_clean_before`
    forwards the adversarial and then the clean images before the loss (RoBal's release).
    `adv_clean_after` forwards both after the update (RobustLT's release, for its log).

    Source: the releases of RoBal, AT-BSL, RobustLT and TAET.

    Args:
        method_of: builds the method for a given attack.
        attack: makes the adversarial images, once in each step. In a clean stage it returns the
            clean images.
        which: one of the three names above.
    """

    def __init__(
        self,
        method_of: Callable[[TrainingAttack], Method],
        attack: TrainingAttack,
        *,
        which: str,
    ) -> None:
        self.method_of = method_of
        self.attack = attack
        self.which = which

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
        order = [images] if self.which == "clean_before" else [adv_images, images]

        def forward() -> None:
            model.train()
            with torch.no_grad():
                for batch in order:
                    model(batch)

        after = self.which == "adv_clean_after"
        if not after:
            forward()
        step = self.method_of(made_already(adv_images)).training_step(
            model, images, targets, class_weights=class_weights, generator=generator
        )
        if not after:
            return step

        def after_update() -> None:
            if step.after_update is not None:
                step.after_update()
            forward()

        return replace(step, after_update=after_update)
