"""Whether two lists of scores differ by more than chance, by the test that their seeds allow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# a training's subset of images and its seed: what makes two trainings a pair
Pair = tuple[str, int]


@dataclass(frozen=True)
class Significance:
    """One comparison.

    Attributes:
        gain: mean of the other minus mean of the first, a fraction; None if one was not measured.
        p: two-sided; None where no test applies.
        test: its name, or why there is none.
        n: pairs of a paired test; of Welch's the fewer seeds.
        adjusted: p after Holm's correction for all comparisons of a table.
    """

    gain: float | None
    p: float | None
    test: str
    n: int
    adjusted: float | None = None


def compare_scores(first: Mapping[Pair, float], other: Mapping[Pair, float]) -> Significance:
    """The other against the first, each with a score by subset and seed.

    Paired where each of one side has its partner: what a subset or a seed gives to both is then
    taken off. Pairs that share nothing cost power, not validity. Differences without any spread
    have no t, and are counted by their sign. Otherwise Welch's t-test.
    """
    if not first or not other:
        return Significance(None, None, "none: not measured", 0)
    gain = statistics.fmean(other.values()) - statistics.fmean(first.values())
    pairs = sorted(first.keys() & other.keys())
    if len(pairs) >= 2 and len(pairs) == min(len(first), len(other)):
        differences = [other[pair] - first[pair] for pair in pairs]
        if max(differences) - min(differences) < 1e-12:
            return Significance(gain, sign_test(differences), "exact sign test", len(pairs))
        from scipy.stats import ttest_1samp  # here: it takes a second, and most commands need none

        p = float(ttest_1samp(differences, 0.0).pvalue)
        return Significance(gain, p, "paired t-test", len(pairs))
    fewer = min(len(first), len(other))
    if fewer < 2:
        return Significance(gain, None, "none: fewer than 2 seeds on a side", fewer)
    if len({*first.values()}) == len({*other.values()}) == 1:
        return Significance(gain, None, "none: no spread on either side", fewer)
    from scipy.stats import ttest_ind

    p = float(ttest_ind([*other.values()], [*first.values()], equal_var=False).pvalue)
    return Significance(gain, p, "Welch's t-test", fewer)


def sign_test(differences: Sequence[float]) -> float | None:
    """Exact two-sided sign test; ties say nothing and are left out. None where all are ties."""
    up = sum(d > 0 for d in differences)
    n = up + sum(d < 0 for d in differences)
    if n == 0:
        return None
    from scipy.stats import binomtest

    return float(binomtest(up, n).pvalue)


def holm(found: Sequence[Significance]) -> list[Significance]:
    """Return the same with `adjusted`: Holm's step-down over those that have a p.

    Ours, because `scipy.stats.false_discovery_control` bounds another error rate.
    """
    tested = sorted((s.p, place) for place, s in enumerate(found) if s.p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = highest
    return [
        Significance(s.gain, s.p, s.test, s.n, adjusted.get(place))
        for place, s in enumerate(found)
    ]


def mean_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the mean and its standard error; of one value no error, of none nothing."""
    if not values:
        return None, None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def significance_data(found: Significance | None) -> dict[str, Any] | None:
    """For `--format json`."""
    return None if found is None else dict(vars(found))
