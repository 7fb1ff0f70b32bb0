"""Test whether two lists of scores differ by more than chance, as far as their seeds allow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltat_tune.results.lead import holm

# (hash of the training images, seed): trainings that agree on both are a pair
Pair = tuple[str, int]
DUNNETT = "Dunnett's test"
_WELCH = "Welch's t-test"


@dataclass(frozen=True)
class Significance:
    """One comparison of two configurations.

    Attributes:
        gain: mean of the other minus mean of the first, a fraction; None if one was not measured.
        p: two-sided; None if no test applies.
        test: the test's name, or why there is none.
        n: number of pairs in a paired test; the smaller number of seeds in Welch's test.
        adjusted: p corrected for all comparisons of a table, by Holm's method; Dunnett's test is
            corrected by itself, and has the same p twice.
    """

    gain: float | None
    p: float | None
    test: str
    n: int
    adjusted: float | None = None


def compare_scores(first: Mapping[Pair, float], other: Mapping[Pair, float]) -> Significance:
    """Test the other configuration's scores against the first's.

    The test is paired if every score of one side has a partner. It then cancels what a subset or
    a seed adds to both sides. Pairs with nothing in common cost power, not validity. Differences
    without any spread have no t, so the sign test counts them. In all other cases the test is
    Welch's t-test.
    """
    if not first or not other:
        return Significance(None, None, "none: not measured", 0)
    gain = statistics.fmean(other.values()) - statistics.fmean(first.values())
    pairs = sorted(first.keys() & other.keys())
    if len(pairs) >= 2 and len(pairs) == min(len(first), len(other)):
        differences = [other[pair] - first[pair] for pair in pairs]
        if max(differences) - min(differences) < 1e-12:
            return Significance(gain, sign_test(differences), "exact sign test", len(pairs))
        from scipy.stats import ttest_1samp  # the import is slow, and rarely needed

        p = float(ttest_1samp(differences, 0.0).pvalue)
        return Significance(gain, p, "paired t-test", len(pairs))
    fewer = min(len(first), len(other))
    if fewer < 2:
        return Significance(gain, None, "none: fewer than 2 seeds on a side", fewer)
    if len({*first.values()}) == len({*other.values()}) == 1:
        return Significance(gain, None, "none: no spread on either side", fewer)
    from scipy.stats import ttest_ind

    p = float(ttest_ind([*other.values()], [*first.values()], equal_var=False).pvalue)
    return Significance(gain, p, _WELCH, fewer)


def compare_with_reference(
    reference: Mapping[Pair, float], others: Sequence[Mapping[Pair, float]]
) -> list[Significance]:
    """Test each of several configurations against one that was fixed beforehand.

    Dunnett's test takes two or more that are independent of the reference: it pools their spread
    and corrects for their number. Where any of them is paired with the reference, each has its own
    test, corrected by Holm's method.
    """
    found = [compare_scores(reference, other) for other in others]
    tested = [place for place, one in enumerate(found) if one.p is not None]
    if len(tested) < 2 or any(found[place].test != _WELCH for place in tested):
        return with_holm(found)
    from scipy.stats import dunnett

    # the integral is a random one; a fixed seed gives the same digits every time
    samples = [[*others[place].values()] for place in tested]
    p_values = dunnett(*samples, control=[*reference.values()], random_state=0).pvalue
    for place, value in zip(tested, p_values, strict=True):
        p = min(1.0, max(0.0, float(value)))
        found[place] = replace(found[place], p=p, adjusted=p, test=DUNNETT)
    return found


def sign_test(differences: Sequence[float]) -> float | None:
    """Return p of the exact two-sided sign test without ties; None if all are ties."""
    up = sum(d > 0 for d in differences)
    n = up + sum(d < 0 for d in differences)
    if n == 0:
        return None
    from scipy.stats import binomtest

    return float(binomtest(up, n).pvalue)


def with_holm(found: Sequence[Significance]) -> list[Significance]:
    """Return the comparisons with `adjusted` set, by Holm's method over those with a p."""
    adjusted = holm([one.p for one in found])
    return [replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def mean_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return (mean, standard error); no error for one value, two Nones for no value."""
    if not values:
        return None, None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def significance_data(found: Significance | None) -> dict[str, Any] | None:
    """Return a comparison's fields for `--format json`."""
    return None if found is None else dict(vars(found))
