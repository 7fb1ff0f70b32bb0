"""MART: the consistency term weighs more where the clean prediction is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import mart_consistency, mart_margin
from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier


class MART:
    """Boosted cross-entropy on adversarial images plus a consistency weighted by 1 - p_y(x).

    loss = L(z(x'), y) - mean log(1 - max_{k != y} q_k) + beta * mean KL(p || q) (1 - p_y), where
    p is the clean and q the adversarial prediction. A step makes two forwards in train mode, first
    on the clean and then on the adversarial images. Class weights act on L alone.

    Source: Wang2020Improving Eq. 9-11; YisenWang/MART@2d83e17.
    Deviations: L is the configured prediction loss (cross-entropy in the paper).

    Args:
        loss: prediction loss of the adversarial logits.
        attack: makes the adversarial images.
        beta: weight of the consistency (lambda in the paper), no unit, >= 0.
    """

    def __init__(self, loss: PredictionLoss, attack: TrainingAttack, *, beta: float) -> None:
        self.loss = loss
        self.attack = attack
        self.beta = beta

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
        clean_logits, logits = model(images), model(adv_images)
        prediction = self.loss(logits, targets, class_weights)
        margin = mart_margin(logits, targets)
        consistency = mart_consistency(clean_logits, logits, targets)
        terms = {"prediction": prediction, "margin": margin, "consistency": consistency}
        loss = prediction + margin + self.beta * consistency
        return StepOutput(loss, logits, {name: term.detach() for name, term in terms.items()})
