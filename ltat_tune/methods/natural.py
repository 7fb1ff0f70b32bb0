"""Natural training: the prediction loss on the clean images."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.methods.base import PredictionLoss, StepOutput
from ltat_tune.models import Classifier


class Natural:
    """The baseline without an attack. It does not use the generator."""

    def __init__(self, loss: PredictionLoss) -> None:
        self.loss = loss

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        model.train()
        logits = model(images)
        loss = self.loss(logits, targets, class_weights)
        return StepOutput(loss, logits, {"prediction": loss.detach()})
