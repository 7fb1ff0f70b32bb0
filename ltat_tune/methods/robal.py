"""RoBal: a cosine classifier with class-aware margins and biases, and a consistency term."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import kl_consistency
from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier

LOG_FLOOR = 1e-12  # added inside the logarithm of the adversarial prediction, as in the release


class RoBal:
    """loss = L(cos(x'), y) + beta * mean KL(p(x) || p(x')), on the logits of a cosine head.

    L is `RoBalLoss` unless another loss is chosen. The scale s acts inside the loss; the attack
    and the consistency use the head's own logits (scale 1 in the release, `model.head_scale`). A
    step makes two forwards in train mode, first on the clean and then on the adversarial images.
    The model makes the adjustment after training (`model.inference_scale`, `model.posthoc_tau`).

    Source: Wu2021Adversarial; wutong16/Adversarial_Long-Tail@ab2f3a7.
    Deviations: the release forwards both batches twice in each step, in the order adversarial,
        clean, clean, adversarial. `method.extra_forwards: adv_clean_before` reproduces this for
        BatchNorm's statistics.

    Args:
        loss: prediction loss of the adversarial logits.
        attack: makes the adversarial images.
        beta: weight of the consistency (beta_reg in the release), no unit, >= 0.
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
        consistency = kl_consistency(clean_logits, logits, floor=LOG_FLOOR)
        terms = {"prediction": prediction.detach(), "consistency": consistency.detach()}
        return StepOutput(prediction + self.beta * consistency, logits, terms)
