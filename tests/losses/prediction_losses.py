"""Every prediction loss beside its formula in NumPy float64, for the tests of what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ltat_tune.losses import (
    BalancedSoftmax,
    CrossEntropy,
    EffectiveNumber,
    FocalLoss,
    LDAMLoss,
    RoBalLoss,
)
from tests.losses.numeric import Array, cross_entropies, rounded

# (logits, targets, class weights, counts, smoothing) -> loss
Reference = Callable[[Array, Sequence[int], Array | None, Array, float], float]


@dataclass(frozen=True)
class Case:
    build: Callable[[Tensor, float], nn.Module]  # (counts, smoothing)
    reference: Reference
    weighted_mean: bool = True  # with class weights; otherwise a plain mean


def _of_targets(weights: Array | None, targets: Sequence[int]) -> Array:
    return np.ones(len(targets)) if weights is None else weights[list(targets)]


def _cross_entropy(
    z: Array, y: Sequence[int], weights: Array | None, counts: Array, smoothing: float
) -> float:
    w = _of_targets(weights, y)
    return float((w * cross_entropies(z, y, smoothing)).sum() / w.sum())


def _focal(gamma: float, inside: bool) -> Reference:
    def reference(
        z: Array, y: Sequence[int], weights: Array | None, counts: Array, smoothing: float
    ) -> float:
        w, ce = _of_targets(weights, y), cross_entropies(z, y, smoothing)
        p = np.exp(-w * ce) if inside else np.exp(-ce)
        return float(((1 - p) ** gamma * w * ce).mean())

    return reference


def _effective_number(beta: float | None) -> Reference:
    def reference(
        z: Array, y: Sequence[int], weights: Array | None, counts: Array, smoothing: float
    ) -> float:
        b = (counts.sum() - 1) / counts.sum() if beta is None else beta
        effective = (1 - b**counts) / (1 - b)
        own = rounded(effective.max() / effective)
        return _cross_entropy(z, y, own if weights is None else own * weights, counts, smoothing)

    return reference


def _ldam(
    z: Array, y: Sequence[int], weights: Array | None, counts: Array, smoothing: float
) -> float:
    margins = rounded(0.5 * counts**-0.25 / (counts**-0.25).max())
    shifted = z.copy()
    shifted[range(len(y)), y] -= margins[list(y)]
    return _cross_entropy(30 * shifted, y, weights, counts, smoothing)


def _balanced(
    z: Array, y: Sequence[int], weights: Array | None, counts: Array, smoothing: float
) -> float:
    shift = rounded(np.log(counts / counts.max()))
    return _cross_entropy(z + shift, y, weights, counts, smoothing)


def _robal(
    z: Array, y: Sequence[int], weights: Array | None, counts: Array, smoothing: float
) -> float:
    margins = rounded(0.1 + 0.03 * np.log(counts / counts.min()))
    shift = rounded(1.5 * np.log(counts / counts.max()))
    shifted = z.copy()
    shifted[range(len(y)), y] -= margins[list(y)]
    return _cross_entropy(10 * shifted + shift, y, weights, counts, smoothing)


CASES: dict[str, Case] = {
    "cross_entropy": Case(lambda n, s: CrossEntropy(label_smoothing=s), _cross_entropy),
    "focal 0": Case(
        lambda n, s: FocalLoss(0.0, label_smoothing=s), _focal(0.0, False), weighted_mean=False
    ),
    "focal 0.5": Case(
        lambda n, s: FocalLoss(0.5, label_smoothing=s), _focal(0.5, False), weighted_mean=False
    ),
    "focal 2": Case(
        lambda n, s: FocalLoss(2.0, label_smoothing=s), _focal(2.0, False), weighted_mean=False
    ),
    "focal 1 inside": Case(
        lambda n, s: FocalLoss(1.0, weight_inside=True, label_smoothing=s),
        _focal(1.0, True),
        weighted_mean=False,
    ),
    "effective_number": Case(
        lambda n, s: EffectiveNumber(n, beta=0.99, label_smoothing=s), _effective_number(0.99)
    ),
    "effective_number of the data": Case(
        lambda n, s: EffectiveNumber(n, beta=None, label_smoothing=s), _effective_number(None)
    ),
    "ldam": Case(lambda n, s: LDAMLoss(n, label_smoothing=s), _ldam),
    "balanced_softmax": Case(lambda n, s: BalancedSoftmax(n, label_smoothing=s), _balanced),
    "robal": Case(lambda n, s: RoBalLoss(n, label_smoothing=s), _robal),
}


def counts_of(classes: int) -> Tensor:
    """Training counts of so many classes: 500 to 1 or more, unsorted, with ties."""
    if classes == 2:
        return torch.tensor([7, 500])
    drawn = np.random.RandomState(classes).randint(2, 200, size=classes)
    drawn[:3] = [60, 500, 1]
    return torch.tensor(drawn)
