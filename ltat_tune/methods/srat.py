"""SRAT: adversarial training with reweighting and feature separation."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import separation_loss
from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier


class SRAT:
    """Weighted prediction loss plus a feature separation loss, both on adversarial images.

    loss = L(z(x'), y; w) + separation_weight * L_sep(project(f(x')), y). The loss needs one
    forward, in train mode, on the adversarial images. The attack runs in the mode
    `attack.bn_mode`.

    Source: Wang2022Imbalanced Eq. 7, Algorithm 1; anonymous2share/SRAT@daa8352.
    Deviations: Eq. 5 and 7 put the class weights inside the maximisation. Here, as in the release,
        the attack raises plain cross-entropy (the two are equal in eval mode).

    Args:
        loss: prediction loss; it gets class weights when the trainer passes them.
        attack: makes the adversarial images.
        separation_weight: lambda, no unit, >= 0; 0 leaves the projection out.
        temperature: tau of the separation loss, no unit, > 0.
    """

    def __init__(
        self,
        loss: PredictionLoss,
        attack: TrainingAttack,
        *,
        separation_weight: float,
        temperature: float,
    ) -> None:
        self.loss = loss
        self.attack = attack
        self.separation_weight = separation_weight
        self.temperature = temperature

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
        model.train()
        logits, features = model.forward_with_features(adv_images)
        loss = prediction = self.loss(logits, targets, class_weights)
        terms = {"prediction": prediction.detach()}
        if self.separation_weight > 0:
            projected = model.project(features)
            separation = separation_loss(projected, targets, temperature=self.temperature)
            loss = prediction + self.separation_weight * separation
            terms["separation"] = separation.detach()
        return StepOutput(loss, logits, terms)
