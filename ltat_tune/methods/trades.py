"""TRADES: clean accuracy, and consistency between clean and adversarial predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import kl_consistency
from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier


class TRADES:
    """loss = L(z(x), y) + beta * mean KL(p(x) || p(x')), with gradients through both predictions.

    A step makes two forwards in train mode, first on the clean and then on the adversarial images.
    By default the attack raises the KL (`attack.objective: kl`) and starts from 0.001 times normal
    noise. Class weights act on the prediction loss.

    Source: Zhang2019Theoretically Eq. 5, arXiv:1901.08573; yaodongyu/TRADES.
    Deviations: the release forwards the clean images twice in each step, which moves BatchNorm's
        statistics one more time.

    Args:
        loss: prediction loss of the clean logits.
        attack: makes the adversarial images.
        beta: weight of the consistency, no unit, >= 0.
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
        prediction = self.loss(clean_logits, targets, class_weights)
        consistency = kl_consistency(clean_logits, logits)
        terms = {"prediction": prediction.detach(), "consistency": consistency.detach()}
        return StepOutput(prediction + self.beta * consistency, logits, terms)
