"""What an epoch adds up over its batches, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltat_tune.methods.base import StepOutput


class EpochSums:
    """Loss, accuracy, terms and predicted classes of an epoch's training images.

    The sums stay on the device: one transfer per epoch instead of one per step.

    Args:
        classes: K.
        device: the device that trains.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._sums: dict[str, Tensor] = {}
        self._predicted = torch.zeros(classes, dtype=torch.int64, device=device)
        self._images = 0

    def add(self, step: StepOutput, targets: Tensor) -> None:
        """Add a batch with these targets, (N,)."""
        size = len(targets)
        self._images += size
        guesses = step.logits.detach().argmax(dim=1)
        # bincount would wait for a GPU
        self._predicted += nn.functional.one_hot(guesses, len(self._predicted)).sum(dim=0)
        terms = {"loss": step.loss.detach() * size, "acc": (guesses == targets).sum()}
        terms |= {name: term * size for name, term in step.terms.items()}
        for name, term in terms.items():
            self._sums[name] = self._sums[name] + term if name in self._sums else term

    def read(self) -> tuple[dict[str, float], list[int]]:
        """Return the means over images by metric, and the images by predicted class, (K,)."""
        names = list(self._sums)
        sums = torch.stack([self._sums[name].double() for name in names])
        means = (sums / self._images).tolist()
        metrics = {f"train/{name}": mean for name, mean in zip(names, means, strict=True)}
        return metrics, self._predicted.tolist()
