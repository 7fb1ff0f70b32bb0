"""Turns answers into accuracies with 95 % intervals, calibration and confusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from ltat_tune.training.metrics import Accuracy, ClassGroups

CONFIDENCE = 0.95
BINS = 15

INTERVALS = (
    "95 %. Of an accuracy and of a class: Wilson (scipy.stats.binomtest). Of a mean over classes: "
    "the Wilson intervals of its classes combined (Zou2009Note), the images of every class being "
    "drawn for themselves. Of the worst class: that class's own; that it was picked is not in it. "
    "All are about which images were drawn, not about which seed trained."
)


@dataclass(frozen=True)
class Interval:
    """Both ends of a 95 % interval, fractions in [0, 1]."""

    low: float
    high: float


def wilson(right: int, total: int) -> Interval:
    """Return the Wilson score interval of a proportion, without continuity correction.

    Source: Wilson1927Probable, by `scipy.stats.binomtest`.
    """
    interval = binomtest(right, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def mean_interval(right: Sequence[int], total: Sequence[int]) -> Interval:
    """Return the interval of the mean of K proportions, each with its own images, all totals >= 1.

    low = mean - sqrt(sum (p_k - low_k)^2) / K, high likewise, with the Wilson interval of every
    proportion. A bootstrap within classes agrees with it if counts are large, but has width 0 if
    every class is at 0 or at 1.

    Source: Zou2009Note (MOVER, for linear functions of binomial proportions).
    """
    shares = [r / t for r, t in zip(right, total, strict=True)]
    each = [wilson(r, t) for r, t in zip(right, total, strict=True)]
    mean, count = sum(shares) / len(shares), len(shares)
    below = math.sqrt(sum((p - i.low) ** 2 for p, i in zip(shares, each, strict=True)))
    above = math.sqrt(sum((i.high - p) ** 2 for p, i in zip(shares, each, strict=True)))
    return Interval(max(0.0, mean - below / count), min(1.0, mean + above / count))


@dataclass(frozen=True)
class Answers:
    """A model's answers to N images, attacked or not."""

    targets: Tensor  # (N,) int64
    predicted: Tensor  # (N,) int64
    confidence: Tensor  # (N,) softmax of the predicted class, float64

    @property
    def correct(self) -> Tensor:
        """Whether each answer is correct, (N,) bool."""
        return self.predicted == self.targets


def accuracies(
    correct: Tensor, targets: Tensor, groups: ClassGroups, classes: int
) -> dict[str, Any]:
    """Return accuracies by the names of training/metrics.py, their intervals, and every class's.

    Args:
        correct: shape (N,), bool.
        targets: shape (N,), int64.
        groups: class groups by training counts.
        classes: K.

    Returns:
        A dict with the keys numbers, intervals, worst_class and per_class.
    """
    counts = Accuracy.count(correct, targets, classes)
    present = [c for c in range(classes) if counts.total[c]]
    numbers = {name.removeprefix("_"): value for name, value in counts.metrics("", groups).items()}
    intervals = {"acc": wilson(sum(counts.right), sum(counts.total))}
    recalls = {c: counts.right[c] / counts.total[c] for c in present}
    worst = min(present, key=lambda c: recalls[c])
    intervals["worst_acc"] = wilson(counts.right[worst], counts.total[worst])
    for name, members in {"balanced": present, **groups.members}.items():
        chosen = [c for c in members if counts.total[c]]
        if chosen:
            intervals[f"{name}_acc"] = mean_interval(
                [counts.right[c] for c in chosen], [counts.total[c] for c in chosen]
            )
    return {
        "numbers": numbers,
        "intervals": {name: asdict(intervals[name]) for name in numbers},
        "worst_class": worst,
        "per_class": [
            {
                "right": right,
                "total": total,
                "acc": right / total if total else None,
                **(asdict(wilson(right, total)) if total else {"low": None, "high": None}),
            }
            for right, total in zip(counts.right, counts.total, strict=True)
        ],
    }


def reliability(answers: Answers) -> list[dict[str, float | int | None]]:
    """Return fifteen bins of equal width over the confidence, each (low, high], the first with 0.

    The keys of a bin are low, high, images, confidence (the mean) and acc; the last two are None
    if the bin is empty.
    """
    confidence = answers.confidence.double().cpu()
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    place = torch.bucketize(confidence, edges[1:-1])  # right edge belongs to the bin
    images = place.bincount(minlength=BINS)
    sums = torch.zeros(2, BINS, dtype=torch.float64)
    sums[0].scatter_add_(0, place, confidence)
    sums[1].scatter_add_(0, place, answers.correct.cpu().double())
    return [
        {
            "low": edges[b].item(),
            "high": edges[b + 1].item(),
            "images": n,
            "confidence": (sums[0, b] / n).item() if n else None,
            "acc": (sums[1, b] / n).item() if n else None,
        }
        for b, n in enumerate(images.tolist())
    ]


def calibration_error(bins: Sequence[dict[str, float | int | None]]) -> float:
    """Return the ECE: the mean over images of |accuracy - confidence| of their bin.

    Source: Guo2017Calibration.
    """
    total = sum(int(b["images"] or 0) for b in bins)
    gaps = [
        b["images"] * abs(b["acc"] - b["confidence"])
        for b in bins
        if b["images"] and b["acc"] is not None and b["confidence"] is not None
    ]
    return sum(gaps) / total


def confusion(answers: Answers, classes: int) -> list[list[int]]:
    """Return images by true class (row) and predicted class (column), (K, K)."""
    place = answers.targets.cpu() * classes + answers.predicted.cpu()
    counts: list[list[int]] = place.bincount(minlength=classes**2).view(classes, classes).tolist()
    return counts


def summarise(answers: Answers, groups: ClassGroups, classes: int) -> dict[str, Any]:
    """Return all that a card reports on one attack: `accuracies`, ece, reliability, confusion."""
    bins = reliability(answers)
    return {
        **accuracies(answers.correct, answers.targets, groups, classes),
        "ece": calibration_error(bins),
        "reliability": bins,
        "confusion": confusion(answers, classes),
    }
