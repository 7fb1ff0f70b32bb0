"""PGD adversarial training: the prediction loss on adversarial images."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier


class PGDAT:
    """Trains on adversarial images only.

    The attack raises plain cross-entropy whatever the loss is, in the mode `attack.bn_mode`. The
    loss needs one forward, in train mode, on the adversarial images.

    Source: Madry2018Towards Eq. 2.1, arXiv:1706.06083.
    """

    def __init__(self, loss: PredictionLoss, attack: TrainingAttack) -> None:
        self.loss = loss
        self.attack = attack

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
        logits = model(adv_images)
        loss = self.loss(logits, targets, class_weights)
        return StepOutput(loss, logits, {"prediction": loss.detach()})
