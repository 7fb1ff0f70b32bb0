"""Measure a lead on the test images, with both sources of chance: seeds and images.

Every training meets the same test images. Its answers form a table of seeds by images, and the
difference of two configurations is such a table too. The lead is the mean of that table. Other
seeds or other images would give another lead, so its variance has a part for each. Radiology
compares two tests in the same way, over readers and cases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEAD_TEST = "t-test over seeds and images"
SETTLED = 0.05  # a p below it, two-sided, is beyond chance
_SHARE = 1.5  # see `measured_lead`
_EQUAL = 1e-9  # of the variance that seeds and images share: less is rounding
_MOST_SEEDS = 100  # nobody trains more; beyond it the advice is more images

Doubles = NDArray[np.float64]
Classes = NDArray[np.int64]
Kind = Literal["images", "classes", "worst"]


@dataclass(frozen=True)
class MeasuredLead:
    """A lead on the test images.

    Attributes:
        gain: the lead, a fraction: the mean over the seeds.
        low: lower end of its 95 % interval; None with fewer than two seeds.
        high: upper end.
        p: two-sided; None with fewer than two seeds, or where no answer differs.
        settles: the smallest lead that these seeds and images find to be beyond chance.
        seeds_needed: how many seeds would find this lead; None if images are what is missing.
    """

    gain: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    settles: float | None = None
    seeds_needed: int | None = None


def shares(
    answers: NDArray[np.bool_], classes: Classes, group: Collection[int] | None, kind: Kind
) -> Doubles:
    """Return what each image adds to an accuracy, (N,): the accuracy is their sum.

    Args:
        answers: whether each image is answered right, shape (N,).
        classes: the class of each image, shape (N,), from 0.
        group: the classes that count; None is all.
        kind: `images` for the share of right images, `classes` for the mean recall of the
            classes, `worst` for the lowest recall.
    """
    images = np.bincount(classes)
    counts = np.ones(len(classes), dtype=bool)
    if group is not None:
        counts = np.isin(classes, list(group))
    if kind == "images":
        return answers * counts / max(1, int(counts.sum()))
    measured = np.unique(classes[counts])
    if kind == "worst":
        recalls = np.bincount(classes, weights=answers)[measured] / images[measured]
        measured = measured[[int(recalls.argmin())]]
    return answers * np.isin(classes, measured) / (images[classes] * max(1, len(measured)))


def measured_lead(differences: Doubles, classes: Classes) -> MeasuredLead:
    """Return the lead in a table of differences, with its 95 % interval and p.

    The variance of the lead is that of its seeds plus that of its images. Each part has its own
    quantile: Student's t with S - 1 degrees of freedom for the seeds, the normal one for the
    images. Their half-widths add up as squares. The images' part is measured within the classes,
    because every test set has the same number of each class. What belongs to one seed and one
    image together is in the spread of the seeds. The share 1.5 / (S - 1) of it, at most all, is
    left there; the rest counts with the images, which are many. Where the leads of all seeds are
    equal, which happens by luck with few images, all of it does. A lead in the worst class treats
    that class as fixed, so chance in which class it is does not count.

    Source: the model is that of Dorfman1992Receiver (Investigative Radiology 27, 723-731), where
    readers stand for seeds and cases for images; half-widths that add up as squares are those of
    Zou2008Construction (Statistics in Medicine 27, 1693-1702).
    Deviation: the share, chosen for coverage near 95 % from 3 seeds on (`scripts/bench_verdict.py`
    measures it); with all of it among the seeds the interval holds the lead in up to 98 %.

    Args:
        differences: what each image adds to the lead of each seed, shape (S, N).
        classes: the class of each image, shape (N,), from 0.
    """
    by_seed = differences.sum(axis=1)
    gain, count = float(by_seed.mean()), len(by_seed)
    if count < 2:
        return MeasuredLead(gain)
    if not differences.any():
        return MeasuredLead(gain, 0.0, 0.0)
    chance = _chance(differences, classes)
    half = chance.half_width(count, SETTLED)
    return MeasuredLead(
        gain, gain - half, gain + half, chance.p(gain, count), half,
        chance.seeds_needed(abs(gain)),
    )  # fmt: skip


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p of each test corrected for all of them, by Holm's step-down; None stays None.

    SciPy has no such correction: `false_discovery_control` bounds another error rate.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = highest
    return adjusted


@dataclass(frozen=True)
class _Chance:
    """Variances of a lead: of one seed's, what both sources share in it, and of the images'."""

    seed: float
    shared: float
    images: float

    def half_width(self, count: int, alpha: float) -> float:
        """Return half of the interval's width for so many seeds, at the level 1 - alpha."""
        from scipy.stats import norm, t  # slow to import

        moved = self.shared * max(0.0, 1 - _SHARE / (count - 1))
        seeds = max(0.0, self.seed - moved) / count
        images = self.images + moved / count
        if self.seed <= _EQUAL * self.shared:  # leads may be equal by luck; images tell of chance
            images = self.images + self.shared / count
        student, normal = t.isf(alpha / 2, count - 1), norm.isf(alpha / 2)
        return float(np.sqrt(student**2 * seeds + normal**2 * images))

    def p(self, gain: float, count: int) -> float:
        """Return the level at which the interval just touches 0."""
        from scipy.optimize import brentq

        def beyond(logarithm: float) -> float:
            return self.half_width(count, math.exp(logarithm)) - abs(gain)

        least = -40.0  # below 1e-17 nobody reads p
        if gain == 0:
            return 1.0
        return math.exp(brentq(beyond, least, 0.0)) if beyond(least) > 0 else math.exp(least)

    def seeds_needed(self, gain: float) -> int | None:
        """Return the fewest seeds whose interval would leave out 0, if there are such."""
        counts = range(2, _MOST_SEEDS + 1)
        return next((n for n in counts if self.half_width(n, SETTLED) < gain), None)


def _chance(differences: Doubles, classes: Classes) -> _Chance:
    sizes = np.bincount(classes)
    # classes with one image have no variance of their own, so they share a stratum
    strata = np.where(sizes[classes] > 1, classes, len(sizes))
    sizes = np.bincount(strata)
    scale = (sizes / np.maximum(sizes - 1, 1))[strata]
    mean = _centred(differences.mean(axis=0, keepdims=True), strata, sizes)
    rest = _centred(differences, strata, sizes) - mean
    count = len(differences)
    shared = float((scale * rest**2).sum()) / (count - 1)
    return _Chance(
        seed=float(differences.sum(axis=1).var(ddof=1)),
        shared=shared,
        images=max(0.0, float((scale * mean**2).sum()) - shared / count),
    )


def _centred(values: Doubles, strata: Classes, sizes: Classes) -> Doubles:
    """Return values (S, N) less the mean of their seed's stratum."""
    sums = np.stack([np.bincount(strata, weights=row) for row in values])
    centred: Doubles = values - (sums / np.maximum(sizes, 1))[:, strata]
    return centred
