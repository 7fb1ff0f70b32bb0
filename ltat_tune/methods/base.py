"""The interface between the trainer and a method: one training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ltat_tune.models import Classifier


@dataclass(frozen=True)
class StepOutput:
    """The result of one training step.

    Attributes:
        loss: the loss to minimise, shape (), with its graph.
        logits: logits of the images that the model was trained on in this step, shape (N, K), with
            their graph.
        terms: the terms of the loss by name, shape () each, detached, before they are multiplied
            by their factors.
        after_update: a function that the trainer calls after the optimiser's step, before anything
            else reads the model. None if there is nothing to do.
        costs: the loss of each image before it is weighed, shape (N,), detached. None if the
            method keeps no costs of its classes.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    after_update: Callable[[], None] | None = None
    costs: Tensor | None = None

    def plus(self, name: str, term: Tensor, weight: float) -> StepOutput:
        """Return the step with one more term, times its weight, in the loss."""
        terms = {**self.terms, name: term.detach()}
        return replace(self, loss=self.loss + weight * term, terms=terms)


class PredictionLoss(Protocol):
    """A loss of `ltat_tune.losses`: (N, K), (N,), (K,) or None -> ()."""

    def __call__(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> Tensor: ...


class Method(Protocol):
    """Computes the loss of one batch. Never steps the optimiser and never clears gradients."""

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        """Compute the loss of one step and leave the model in train mode.

        Images have shape (N, C, H, W) and lie in [0, 1]; targets have shape (N,).

        Args:
            model: the network that is trained.
            images: clean images of the batch.
            targets: their classes.
            class_weights: shape (K,); None while the trainer defers them.
            generator: source of the attack's noise.
        """
        ...
