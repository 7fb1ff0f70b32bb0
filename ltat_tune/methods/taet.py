"""TAET: a clean stage, then an adversarial stage that equalises the losses of the classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import class_losses, taet_terms
from ltat_tune.methods.base import StepOutput
from ltat_tune.models import Classifier


class TAET:
    """The adversarial stage: bcl_weight * BCL + hdl_weight * HDL + rcel_weight * RCEL.

    L_c is the mean cross-entropy of class c in the batch, or 0 if the batch lacks the class. BCL
    is the mean of the L_c over all classes, HDL their variance, and RCEL the sum of their squared
    shares. A step makes one forward, in train mode, on the adversarial images. `natural` trains
    the clean stage before it.

    Source: Wang2025TAET; BuhuiOK/TAET@a374adf.
    Deviations: the release makes an unnecessary clean forward before the attack. It is available
        as `method.extra_forwards: clean_before`.

    Args:
        attack: makes the adversarial images.
        weights: factors of `bcl`, `hdl` and `rcel`, no unit, >= 0.
        label_smoothing: label smoothing of the cross-entropy, a share in [0, 1).
    """

    def __init__(
        self, attack: TrainingAttack, *, weights: dict[str, float], label_smoothing: float = 0.0
    ) -> None:
        self.attack = attack
        self.weights = weights
        self.label_smoothing = label_smoothing

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
        losses = class_losses(
            logits, targets, logits.shape[1], label_smoothing=self.label_smoothing
        )
        terms = taet_terms(losses)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return StepOutput(loss, logits, {name: term.detach() for name, term in terms.items()})
