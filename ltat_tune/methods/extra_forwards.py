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

    `clean_before` forwards the clean images before the attack, with every method (TAET's release).
    An attack in eval mode therefore meets statistics that have seen the batch. `adv_clean_before`
    forwards the adversarial and then the clean images between attack and loss (RoBal's release).
    `adv_clean_after` forwards both after the update (RobustLT's release, for its log).

    Source: the releases of RoBal, RobustLT and TAET.
    Deviations: in RobustLT's release, AT-BSL and TAET also forward the clean images inside the
        loss, after the adversarial ones and without using the result. Its TAET forwards the clean
        images first after the update. Neither is available.

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
        def forward(*batches: Tensor) -> None:
            model.train()
            with torch.no_grad():
                for batch in batches:
                    model(batch)

        if self.which == "clean_before":
            forward(images)
        adv_images = self.attack(model, images, targets, generator=generator)
        if self.which == "adv_clean_before":
            forward(adv_images, images)
        step = self.method_of(made_already(adv_images)).training_step(
            model, images, targets, class_weights=class_weights, generator=generator
        )
        if self.which != "adv_clean_after":
            return step

        def after_update() -> None:
            if step.after_update is not None:
                step.after_update()
            forward(adv_images, images)

        return replace(step, after_update=after_update)
