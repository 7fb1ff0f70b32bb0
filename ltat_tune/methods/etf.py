"""The ETF penalty around any method."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.losses import etf_penalty
from ltat_tune.methods.base import Method, StepOutput
from ltat_tune.models import Classifier


class ETFPenalty:
    """A method's loss plus weight * R_geom(W) of the head's class weights.

    Source: MCAT, R_geom; yneversky/MCAT@f19c2af (the released MCAT is
        PGD-AT plus this term).

    Args:
        method: computes the loss.
        weight: factor of the penalty, no unit, > 0.
    """

    def __init__(self, method: Method, *, weight: float) -> None:
        self.method = method
        self.weight = weight

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        step = self.method.training_step(
            model, images, targets, class_weights=class_weights, generator=generator
        )
        return step.plus("etf", etf_penalty(model.head.weight), self.weight)
