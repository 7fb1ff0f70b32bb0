"""Whether two lists of scores differ by more than chance, by the test that their seeds allow."""

from __future__ import annotations

import math
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
    gain = _mean(list(other.values())) - _mean(list(first.values()))
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
    tail: float = sum(math.comb(n, k) for k in range(min(up, n - up) + 1)) / float(2**n)
    return min(1.0, 2 * tail)


def holm(found: Sequence[Significance]) -> list[Significance]:
    """The same with `adjusted`: Holm's step-down over those that have a p."""
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
    """Mean, and standard error of the mean; of one value no error, of none nothing."""
    if not values:
        return None, None
    mean = _mean(values)
    if len(values) == 1:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def significance_data(found: Significance | None) -> dict[str, Any] | None:
    """For `--format json`."""
    return None if found is None else dict(vars(found))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
