"""What an epoch adds up over its batches, without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ltat_tune.config.sections import OptimConfig
from ltat_tune.errors import TrainingDiverged
from ltat_tune.methods.base import StepOutput


class EpochSums:
    """Loss, accuracy, terms and predicted classes of an epoch's training images.

    The sums stay on the device: one transfer per epoch instead of one per step.

    Args:
        classes: K.
        device: the device that trains.
        correct: whether to count correct answers by class.
        confusion: whether to sum the softmax of the images by class.
        costs: whether to sum the costs of the images by class.
    """

    def __init__(
        self, classes: int, device: torch.device, *,
        correct: bool = False, confusion: bool = False, costs: bool = False,
    ) -> None:  # fmt: skip
        self._sums: dict[str, Tensor] = {}
        self._predicted = torch.zeros(classes, dtype=torch.int64, device=device)
        self._correct = torch.zeros_like(self._predicted) if correct else None
        shape, kind = (classes, classes), torch.float64
        self._confusion = torch.zeros(shape, dtype=kind, device=device) if confusion else None
        self._costs = torch.zeros(classes, dtype=kind, device=device) if costs else None
        self._images = 0

    def add(self, step: StepOutput, targets: Tensor) -> None:
        """Add a batch with these targets, (N,)."""
        size = len(targets)
        self._images += size
        logits = step.logits.detach()
        guesses = logits.argmax(dim=1)
        member = nn.functional.one_hot(targets, len(self._predicted))
        if self._correct is not None:
            self._correct += (member * (guesses == targets)[:, None]).sum(dim=0)
        if self._confusion is not None:
            self._confusion += member.double().T @ logits.double().softmax(dim=1)
        if self._costs is not None:
            assert step.costs is not None  # of a method that weighs by them
            self._costs += member.double().T @ step.costs.double()
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

    def read_classes(self) -> tuple[list[int] | None, Tensor | None, list[float] | None]:
        """Return correct answers (K,), softmax sums (K, K) and costs (K,); None: not recorded."""
        correct = None if self._correct is None else self._correct.tolist()
        confusion = None if self._confusion is None else self._confusion.cpu()
        return correct, confusion, None if self._costs is None else self._costs.tolist()


def check_finite(
    metrics: Mapping[str, float], model: nn.Module, *, epoch: int, optim: OptimConfig
) -> None:
    """Raise TrainingDiverged if a metric of an epoch, from 0, or a weight is not finite."""
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not broken:
        total = torch.stack([p.detach().sum() for p in model.parameters()]).sum()
        broken = [] if math.isfinite(total.item()) else ["a weight"]
    if broken:
        raise TrainingDiverged(
            f"{' and '.join(broken)} became non-finite in epoch {epoch + 1} of "
            f"{optim.epochs} (optim.lr {optim.lr:g})"
        )
