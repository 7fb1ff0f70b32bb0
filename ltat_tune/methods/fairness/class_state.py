"""What a training keeps of its classes from epoch to epoch, and what DAFA and CFA make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ltat_tune.config.timeline import class_state_epoch
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.losses import (
    bounded_weights,
    cfa_radii,
    cfa_shares,
    dafa_weights,
    smoothed_recalls,
)


@dataclass(frozen=True)
class ClassState:
    """What the epochs so far told of the classes. It is part of a checkpoint.

    Attributes:
        correct: training images that were answered right, by epoch and class, (E, K). Only CFA
            keeps them.
        confusion: sums of the softmax of the training images by class (row), (K, K) float64, of
            the last epoch that was recorded. Only DAFA keeps them.
    """

    correct: list[list[int]] = field(default_factory=list)
    confusion: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the content as tensors and plain values."""
        return {"correct": self.correct, "confusion": self.confusion}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> ClassState:
        """Return what `state_dict` described; nothing for a checkpoint that has none."""
        return cls() if state is None else cls(**state)

    def after(self, correct: list[int] | None, confusion: Tensor | None) -> ClassState:
        """Return the state after one more epoch, of which None was not recorded."""
        more = [] if correct is None else [correct]
        return replace(
            self, correct=[*self.correct, *more],
            confusion=self.confusion if confusion is None else confusion,
        )  # fmt: skip


def records_correct(config: TrialConfig) -> bool:
    """Return whether the method needs the correct answers of every epoch by class."""
    return config.method.name == "cfa"


def records_confusion(config: TrialConfig, epoch: int) -> bool:
    """Return whether the method needs the softmax sums of an epoch, from 0, by class."""
    return config.method.name == "dafa" and epoch < class_state_epoch(config)


@dataclass(frozen=True)
class ClassFactors:
    """The factors of each class in one epoch, (K,) float32 each; None is 1 for all classes.

    Attributes:
        radius: on the radius of the attack.
        prediction: on the prediction loss.
        consistency: on the consistency, beta included.
    """

    radius: Tensor | None = None
    prediction: Tensor | None = None
    consistency: Tensor | None = None


def class_factors(
    config: TrialConfig, samples_per_class: Tensor, state: ClassState, epoch: int
) -> ClassFactors:
    """Return the factors of DAFA and of CFA in one epoch, from 0. Other methods have none.

    They are computed on the CPU in float64 and lie on the device of `samples_per_class`.
    """
    method, known = config.method, epoch >= class_state_epoch(config)

    def there(values: Tensor) -> Tensor:
        return values.float().to(samples_per_class.device)

    if method.name == "dafa" and known and state.confusion is not None:
        means = state.confusion / state.confusion.sum(dim=1, keepdim=True)  # rows sum to images
        weights = dafa_weights(means, method.dafa_strength)
        weights = there(bounded_weights(weights, method.dafa_weight_min, method.dafa_weight_max))
        return ClassFactors(radius=weights, prediction=weights)
    if method.name != "cfa":
        return ClassFactors()
    counts = samples_per_class.cpu()
    recalls = None
    if known and state.correct:
        recalls = smoothed_recalls(state.correct, counts, method.cfa_smoothing)
    factors = ClassFactors()
    if recalls is not None:
        radii = cfa_radii(recalls, method.cfa_radius_base, larger=method.cfa_larger_radius)
        factors = replace(factors, radius=there(radii))
    if method.base == "trades":
        ones = torch.ones(len(counts), dtype=torch.float64)
        scale = ones if recalls is None else method.cfa_kl_base + recalls
        shares = cfa_shares(scale, method.beta)
        factors = replace(factors, prediction=there(1 - shares), consistency=there(shares))
    return factors
