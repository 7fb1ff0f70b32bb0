"""Forwards of a release that do nothing but move BatchNorm's running statistics."""

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
    """A method with further train-mode forwards, without gradient.

    `clean_before`: the clean images before the loss (TAET's release). `adv_clean_before`: the
    adversarial and then the clean ones (RoBal's release). `adv_clean_after`: both after the update
    (RobustLT's release, for its log).

    Source: the releases of RoBal, AT-BSL, RobustLT and TAET.

    Args:
        method_of: the method around a given attack.
        attack: makes the adversarial images, once a step; in a clean stage they are the clean
            ones.
        which: one of the three names.
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
