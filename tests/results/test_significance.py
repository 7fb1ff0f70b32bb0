"""Tests against values worked by hand or by scipy's own functions for two samples."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, ttest_ind, ttest_rel

from ltat_tune.results.significance import (
    Significance,
    compare_scores,
    holm,
    mean_error,
    sign_test,
)


def _seeds(*scores: float, subset: str = "a", first: int = 0) -> dict[tuple[str, int], float]:
    return {(subset, first + seed): score for seed, score in enumerate(scores)}


def test_the_same_seeds_of_one_subset_are_paired() -> None:
    one, other = (0.5, 0.6, 0.55), (0.42, 0.53, 0.5)
    found = compare_scores(_seeds(*one), _seeds(*other))
    assert found.test == "paired t-test"
    assert found.n == 3
    assert found.p == pytest.approx(ttest_rel(one, other).pvalue)
    assert found.gain == pytest.approx((0.42 + 0.53 + 0.5 - 1.65) / 3)


def test_other_subsets_or_seeds_are_not_paired() -> None:
    one, other = (0.5, 0.6, 0.55), (0.42, 0.53, 0.5)
    for second in (_seeds(*other, subset="b"), _seeds(*other, first=1)):
        found = compare_scores(_seeds(*one), second)
        assert found.test == "Welch's t-test"
        assert found.p == pytest.approx(ttest_ind(one, other, equal_var=False).pvalue)


def test_welchs_test_by_hand() -> None:
    # means 0.5 and 0.4, variances 0.01 each, n = 3: t = 0.1 / sqrt(0.02 / 3) = 1.2247, df = 4;
    # for 4 degrees of freedom p = 1 - x * (3 - x**2) / 2 with x = t / sqrt(t**2 + 4) = 0.5222
    found = compare_scores(_seeds(0.3, 0.4, 0.5), _seeds(0.4, 0.5, 0.6, first=5))
    x = 1.5**0.5 / (1.5 + 4) ** 0.5
    assert found.p == pytest.approx(1 - x * (3 - x**2) / 2)
    assert found.gain == pytest.approx(0.1)
    assert found.n == 3
    flat = compare_scores(_seeds(0.5, 0.5), _seeds(0.4, 0.4, subset="b"))
    assert (flat.p, flat.test) == (None, "none: no spread on either side")


def test_differences_without_spread_are_counted_by_sign() -> None:
    found = compare_scores(_seeds(0.5, 0.6, 0.7), _seeds(0.4, 0.5, 0.6))
    assert (found.test, found.p) == ("exact sign test", 0.25)  # 2 / 2^3
    assert compare_scores(_seeds(0.5, 0.6), _seeds(0.5, 0.6)).p is None


def test_one_seed_on_a_side_has_no_test() -> None:
    found = compare_scores(_seeds(0.5, 0.6), _seeds(0.4))
    assert found.p is None
    assert found.test == "none: fewer than 2 seeds on a side"
    nothing = compare_scores(_seeds(0.5, 0.6), {})
    assert (nothing.gain, nothing.p, nothing.test) == (None, None, "none: not measured")


@pytest.mark.parametrize(("up", "down"), [(5, 1), (3, 3), (0, 4), (9, 2)])
def test_the_sign_test_is_scipys_binomial_test(up: int, down: int) -> None:
    differences = [0.1] * up + [-0.2] * down + [0.0]
    assert sign_test(differences) == pytest.approx(binomtest(up, up + down).pvalue)


def test_holm_by_hand() -> None:
    """0.01 * 3, then 0.02 * 2 = 0.04, then 0.03 * 1, raised to the 0.04 before it."""
    found = holm([Significance(0, p, "t", 3) for p in (0.03, None, 0.01, 0.02)])
    assert [s.adjusted for s in found] == [
        pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)
    ]  # fmt: skip


def test_the_standard_error_is_of_the_mean() -> None:
    mean, error = mean_error([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2)
    assert error == pytest.approx(0.1 / 3**0.5)
    assert mean_error([0.1]) == (0.1, None)
    assert mean_error([]) == (None, None)
