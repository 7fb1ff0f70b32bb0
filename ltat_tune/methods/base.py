"""The one thing the trainer asks of a method: a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ltat_tune.models import Classifier


@dataclass(frozen=True)
class StepOutput:
    """What a step returns.

    Attributes:
        loss: to be minimised, shape (), with its graph.
        logits: of the images the model was trained on in this step, shape (N, K), with graph.
        terms: the parts of the loss by name, shape () each, detached, before their factors.
        after_update: to be called once the optimiser has made its step, before anything else looks
            at the model; None if there is nothing to do.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    after_update: Callable[[], None] | None = None


class PredictionLoss(Protocol):
    """A loss of `ltat_tune.losses`: (N, K), (N,), (K,) or None -> ()."""

    def __call__(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor: ...


class Method(Protocol):
    """Makes the loss of one batch; never steps the optimiser, never clears gradients."""

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        """One step on images (N, C, H, W) in [0, 1] and targets (N,); leaves the model in train
        mode.

        Args:
            model: the network in training.
            images: clean images of the batch.
            targets: their classes.
            class_weights: shape (K,), or None while the trainer defers them.
            generator: source of the attack's noise.
        """
        ...
