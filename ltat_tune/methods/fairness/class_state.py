"""What a training keeps of its classes between epochs, and what DAFA, CFA and WAT make of it."""

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
    wat_weights,
)

_LEAST = 1e-6  # so that the images of a batch never weigh nothing together


@dataclass(frozen=True)
class ClassState:
    """What the epochs so far told of the classes. It is part of a checkpoint.

    Attributes:
        correct: training images that were answered right, by epoch and class, (E, K). Only CFA
            keeps them.
        confusion: sums of the softmax of the training images by class (row), (K, K) float64, of
            the last epoch that was recorded. Only DAFA keeps them.
        costs: sums of the costs of the training images, by epoch and class, (E, K). Only WAT
            keeps them.
    """

    correct: list[list[int]] = field(default_factory=list)
    confusion: Tensor | None = None
    costs: list[list[float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return the content as tensors and plain values."""
        return {"correct": self.correct, "confusion": self.confusion, "costs": self.costs}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> ClassState:
        """Return what `state_dict` described; nothing for a checkpoint that has none."""
        return cls() if state is None else cls(**state)

    def after(
        self, correct: list[int] | None, confusion: Tensor | None, costs: list[float] | None
    ) -> ClassState:
        """Return the state after one more epoch, of which None was not recorded."""
        return replace(
            self, correct=[*self.correct, *([] if correct is None else [correct])],
            confusion=self.confusion if confusion is None else confusion,
            costs=[*self.costs, *([] if costs is None else [costs])],
        )  # fmt: skip


def recorded_sums(config: TrialConfig, epoch: int) -> dict[str, bool]:
    """Return what `EpochSums` must add up by class in an epoch, from 0, for the method."""
    name = config.method.name
    return {
        "correct": name == "cfa",
        "confusion": name == "dafa" and epoch < class_state_epoch(config),
        "costs": name == "wat",
    }


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
    """Return the factors of DAFA, CFA and WAT in one epoch, from 0. Other methods have none.

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
    counts = samples_per_class.cpu()
    if method.name == "wat":
        both = there(_wat_factors(config, counts, state.costs if known else [], epoch))
        return ClassFactors(prediction=both, consistency=both)
    if method.name != "cfa":
        return ClassFactors()
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


def _wat_factors(
    config: TrialConfig, counts: Tensor, costs: list[list[float]], epoch: int
) -> Tensor:
    """Return WAT's w_c + w_mean, (K,) float64, by which the loss of an image is multiplied.

    All are 2 as long as nothing is known, as in the release. A probe is shorter than the training
    whose costs it has: they then count as those of as many epochs as it would have had by now.

    Source: Li2023WAT; boqili/WAT@62d1184.
    Deviations: the costs are those of the training images, measured on the way as CFA measures its
        recalls, and not of held-out images after each epoch. Validation images choose the
        configuration here, so they must not train. Images held out for this alone would be the
        tail's: ten of a class of 50. Their mean would be off by the same amount in every epoch,
        and WAT sums over epochs.
    """
    if not costs:
        return torch.full((len(counts),), 2.0, dtype=torch.float64)
    sums = torch.tensor(costs, dtype=torch.float64).sum(dim=0) / counts
    sums = sums * (epoch / len(costs))
    method = config.method
    weights = wat_weights(sums, method.wat_rate, method.wat_weight_max)
    return (weights[:-1] + weights[-1]).clamp_min(_LEAST)
