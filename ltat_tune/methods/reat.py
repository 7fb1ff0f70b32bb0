"""REAT: adversarial training with RBL in the attack and TAIL on the features."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import TailLoss
from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier


class REAT:
    """Prediction loss plus TAIL, both on adversarial images.

    loss = L(z(x'), y) + tail_weight * TAIL(f(x'), y), where L is the balanced softmax unless
    another loss is chosen. RBL, which weighs classes by the previous epoch's predictions, belongs
    to the attack (`attack.reweight: rbl`). The loss needs one forward, in train mode, on the
    adversarial images.

    Source: Li2023Alleviating Eq. 1-4; GuanlinLee/REAT@a7909fd.
    Deviations: see `TailLoss` for its variants. As in the release, the attack runs in eval mode,
        where RBL changes no adversarial image. With `attack.bn_mode: batch` RBL acts.

    Args:
        loss: prediction loss; it gets class weights when the trainer passes them.
        attack: makes the adversarial images.
        tail: TAIL on features (N, D) and targets (N,).
        tail_weight: factor of TAIL, no unit, >= 0; 0 leaves TAIL out.
    """

    def __init__(
        self, loss: PredictionLoss, attack: TrainingAttack, tail: TailLoss, *, tail_weight: float
    ) -> None:
        self.loss = loss
        self.attack = attack
        self.tail = tail
        self.tail_weight = tail_weight

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
        if self.tail_weight > 0:
            tail = self.tail(features, targets)
            loss = prediction + self.tail_weight * tail
            terms["tail"] = tail.detach()
        return StepOutput(loss, logits, terms)
