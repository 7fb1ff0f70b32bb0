"""Turns answers into accuracies with 95 % intervals, calibration and confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv
from scipy.stats import binomtest
from torch import Tensor

from ltat_tune.training.metrics import Accuracy, ClassGroups

CONFIDENCE = 0.95
BINS = 15

INTERVALS = (
    "95 %. Of an accuracy and of a class: Wilson (scipy.stats.binomtest). Of a mean over classes: "
    "Clopper-Pearson on the effective number of images (Korn1998Confidence), the images of every "
    "class being drawn for themselves. Of the worst class: that class's own; that it was picked "
    "is not in it. All are about which images were drawn, not about which seed trained."
)

Values = NDArray[np.float64]


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


def effective_images(right: ArrayLike, total: ArrayLike) -> tuple[Values, Values]:
    """Return the mean of K recalls and the images that tell as much of one proportion.

    The mean of the recalls r_k / n_k has the variance sum p_k (1 - p_k) / n_k / K^2. One
    proportion p has that variance on p (1 - p) / variance images: K times the harmonic mean of the
    n_k where all recalls are equal, more where they differ, since a class near 0 or 1 varies
    little. Each p_k is estimated as (r_k + mean) / (n_k + 1), as if one more image had been seen
    that has the mean recall; without it, few images per class would look too certain. The factor
    1 - n_k / (n_k + 1)^2 undoes what the estimate takes from p (1 - p) where all recalls are
    equal. Recalls never count for more variance than equal ones.

    Args:
        right: correct answers by class, shape (..., K).
        total: images by class, shape (K,) or that of `right`, all >= 1.

    Returns:
        Mean recall and effective images, each of shape (...).
    """
    right, total = np.asarray(right, dtype=np.float64), np.asarray(total, dtype=np.float64)
    mean = (right / total).mean(axis=-1)
    shrunk = (right + mean[..., None]) / (total + 1)
    spread = shrunk * (1 - shrunk) / (1 - total / (total + 1) ** 2) / total
    equal = mean * (1 - mean) * (1 / total).sum(axis=-1)  # the same sum if all recalls are equal
    share = np.divide(spread.sum(axis=-1), equal, out=np.ones_like(mean), where=equal > 0)
    images = total.shape[-1] ** 2 / (1 / total).sum(axis=-1)
    return mean, images / np.minimum(share, 1)


def mean_ends(right: ArrayLike, total: ArrayLike) -> tuple[Values, Values]:
    """Return low and high of the interval of the mean of K proportions, for many counts at once.

    Clopper-Pearson's beta quantiles with the effective number of images and its share of right
    ones, which need not be whole numbers. Clopper and Pearson add one image to the right ones at
    the high end and to the wrong ones at the low end. Here it is one of the class with the fewest
    images, which moves the mean most. `scripts/bench_intervals.py` measures the coverage.

    Source: Korn1998Confidence (Survey Methodology 24, 193-201); the image that is added:
    Fay1997Confidence (Statistics in Medicine 16, 791-801).
    Deviations: no t quantiles, which allow for few sampled clusters; recalls that differ count for
    more images only as far as `effective_images` trusts them.

    Args:
        right: shape (..., K).
        total: shape (K,) or that of `right`, all >= 1.

    Returns:
        Low and high, each of shape (...).
    """
    mean, images = effective_images(right, total)
    hit, miss, tail = mean * images, (1 - mean) * images, (1 - CONFIDENCE) / 2
    counts = np.asarray(total)
    one = images / counts.min(axis=-1) / counts.shape[-1]  # an image of the smallest class
    none, every = hit <= 0, miss <= 0
    low = betaincinv(np.where(none, 1, hit), miss + one, tail)
    high = betaincinv(hit + one, np.where(every, 1, miss), 1 - tail)
    return np.where(none, 0.0, low), np.where(every, 1.0, high)


def mean_interval(right: Sequence[int], total: Sequence[int]) -> Interval:
    """Return the interval of the mean of K proportions, each with its own images, all totals >= 1.

    It is that of `mean_ends`; the mean of one class has that class's own interval, `wilson`.
    """
    if len(total) == 1:
        return wilson(right[0], total[0])
    low, high = mean_ends(right, total)
    return Interval(float(low), float(high))


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
