"""Tests against values worked by hand or by scipy's own functions for two samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, chi, norm, ttest_ind, ttest_rel

from ltat_tune.comparison.significance import (
    Significance,
    compare_scores,
    compare_with_reference,
    mean_error,
    sign_test,
    with_holm,
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
    found = with_holm([Significance(0, p, "t", 3) for p in (0.03, None, 0.01, 0.02)])
    assert [s.adjusted for s in found] == [
        pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)
    ]  # fmt: skip


def _dunnett_by_integral(t: float, rows: int, df: int) -> float:
    """P that the largest of `rows` |t| exceeds t; all share the reference, and n is the same.

    Given the reference's deviation z and the pooled spread s, the rows are independent.
    """
    z, s = np.linspace(-8, 8, 1601)[:, None], np.linspace(1e-3, 4, 2000)[None, :]
    inside = norm.cdf(z + 2**0.5 * t * s) - norm.cdf(z - 2**0.5 * t * s)
    density = norm.pdf(z) * chi.pdf(s * df**0.5, df) * df**0.5
    return 1 - float(np.trapezoid(np.trapezoid(inside**rows * density, s[0], axis=1), z[:, 0]))


def test_several_independent_rows_are_tested_by_dunnett_as_integrated_here() -> None:
    assert _dunnett_by_integral(2.57, 2, 10) == pytest.approx(0.05, abs=0.001)  # Dunnett's table
    reference = _seeds(0.40, 0.42, 0.44)
    rows = [(0.45, 0.47, 0.49), (0.42, 0.46, 0.44), (0.41, 0.42, 0.43)]
    found = compare_with_reference(
        reference, [_seeds(*row, subset=f"other {i}") for i, row in enumerate(rows)]
    )
    # variances 4, 4, 4 and 1 in 1e-4: pooled 3.25e-4 on 4 * 2 degrees of freedom; means .42, .47,
    # .44 and .42, so t is 0.05, 0.02 and 0 over sqrt(2 * 3.25e-4 / 3)
    error = (2 * 3.25e-4 / 3) ** 0.5
    for one, gain in zip(found, (0.05, 0.02, 0.0), strict=True):
        assert one.test == "Dunnett's test"
        assert one.gain == pytest.approx(gain)
        assert one.p == one.adjusted == pytest.approx(
            _dunnett_by_integral(gain / error, 3, 8), abs=5e-4
        )  # fmt: skip
    again = compare_with_reference(
        reference, [_seeds(*row, subset=f"other {i}") for i, row in enumerate(rows)]
    )
    assert again == found  # to the last digit


def test_paired_rows_keep_their_tests_and_holm() -> None:
    reference = _seeds(0.40, 0.42, 0.45)
    others = [_seeds(0.45, 0.48, 0.49), _seeds(0.47, 0.46, 0.44, subset="b")]
    found = compare_with_reference(reference, others)
    assert [one.test for one in found] == ["paired t-test", "Welch's t-test"]
    assert found == with_holm([compare_scores(reference, other) for other in others])


def test_one_independent_row_and_rows_without_a_test_need_no_dunnett() -> None:
    reference = _seeds(0.40, 0.42, 0.45)
    others = [_seeds(0.45, 0.48, 0.49, subset="b"), {}, _seeds(0.4, subset="c")]
    found = compare_with_reference(reference, others)
    assert [one.test for one in found] == [
        "Welch's t-test", "none: not measured", "none: fewer than 2 seeds on a side"
    ]  # fmt: skip
    assert found[0].adjusted == found[0].p


def test_a_fixed_reference_finds_chance_in_5_percent_of_null_tables() -> None:
    """Five equal rows: the best of them as reference finds a difference more often."""
    generator = np.random.default_rng(7)
    false = 0
    tables = 400
    for _ in range(tables):
        scores = generator.normal(0.5, 0.02, size=(5, 3))
        rows = [_seeds(*row, subset=f"{i}") for i, row in enumerate(scores)]
        tests = compare_with_reference(rows[0], rows[1:])
        false += any(one.adjusted is not None and one.adjusted < 0.05 for one in tests)
    assert 0.02 <= false / tables <= 0.08  # 5 % plus or minus 2.7 standard errors


def test_the_standard_error_is_of_the_mean() -> None:
    mean, error = mean_error([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2)
    assert error == pytest.approx(0.1 / 3**0.5)
    assert mean_error([0.1]) == (0.1, None)
    assert mean_error([]) == (None, None)
