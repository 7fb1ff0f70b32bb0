"""TAET: a clean stage, then class losses that are made small and alike."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import class_losses, taet_terms
from ltat_tune.methods.base import StepOutput
from ltat_tune.models import Classifier


class TAET:
    """The adversarial stage: bcl_weight * BCL + hdl_weight * HDL + rcel_weight * RCEL.

    L_c is the mean cross-entropy of class c in the batch, 0 if it is absent; BCL is the mean of
    the L_c over all classes, HDL their variance, RCEL the sum of their squared shares. One forward
    in train mode, on the adversarial images. In the clean stage before it, `natural` trains.

    Source: Wang2025TAET; BuhuiOK/TAET@a374adf.
    Deviations: the release's superfluous clean forward is `method.extra_forwards: clean_before`.

    Args:
        attack: makes the adversarial images.
        weights: factors of `bcl`, `hdl` and `rcel`, no unit, >= 0.
        label_smoothing: of the cross-entropy, share in [0, 1).
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
        of_classes = class_losses(
            logits, targets, logits.shape[1], label_smoothing=self.label_smoothing
        )
        terms = taet_terms(of_classes)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return StepOutput(loss, logits, {name: term.detach() for name, term in terms.items()})
