"""SRAT's mixture: closed forms against integrals, samples and corners worked out here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from scripts import srat_mixture
from scripts.srat_mixture import Errors, Mixture


def _below(z: float) -> float:
    """P(N(0, 1) < z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _density(x: float, mean: float) -> float:
    return math.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)


def test_bias_by_hand_and_as_the_paper_prints_it() -> None:
    """d = 4, eta 1, sigma 2: sigma^2 / (2 eta) = 2, and log(1 / e) = -1."""
    mixture = Mixture(1.0, 2.0, 4)
    assert mixture.separability == 0.25
    assert mixture.distance == 1.0
    assert srat_mixture.optimal_bias(mixture, math.e) == pytest.approx(-2)
    assert srat_mixture.papers_bias(mixture, math.e) == pytest.approx(-8)
    assert srat_mixture.optimal_bias(mixture, 7.0, 7.0) == 0


def test_in_one_dimension_the_printed_bias_is_right() -> None:
    mixture = Mixture(0.7, 1.3, 1)
    assert srat_mixture.papers_bias(mixture, 9.0) == srat_mixture.optimal_bias(mixture, 9.0)


def test_errors_by_hand() -> None:
    """d = 1, eta = sigma = 1, K = e^2: b = -1 lies on the mean of class -1, 2 below the other."""
    errors = srat_mixture.optimal_errors(1.0, math.exp(2))
    assert errors == pytest.approx((0.5, _below(-2)))
    assert srat_mixture.errors_at(Mixture(1.0, 1.0, 1), -1.0) == pytest.approx(errors)


@pytest.mark.parametrize(("ratio", "weight"), [(100, 1), (100, 100), (3, 40), (1, 1)])
@pytest.mark.parametrize("distance", [0.3, 1.0, 2.5])
def test_no_classifier_of_any_kind_has_less_risk(
    distance: float, ratio: float, weight: float
) -> None:
    """The least weighted error is the integral of the smaller of the two weighted densities, along
    the line through the means, at -t and t in standard deviations."""

    def smaller(x: float) -> float:
        return min(weight * _density(x, -distance), ratio * _density(x, distance))

    crossing = math.log(weight / ratio) / (2 * distance)
    bound = 12 + abs(crossing)
    least = sum(quad(smaller, *ends)[0] for ends in ((-bound, crossing), (crossing, bound)))
    errors = srat_mixture.optimal_errors(distance, ratio, weight)
    assert weight * errors.under + ratio * errors.well == pytest.approx(least, rel=1e-6)


def test_the_closed_bias_has_fewer_weighted_errors_than_its_neighbours_and_the_papers() -> None:
    """Counted on 200,000 samples of each class in five dimensions."""
    mixture, ratio = Mixture(0.4, 1.0, 5), 20.0
    generator = np.random.default_rng(0)
    under = generator.normal(-0.4, 1.0, (200_000, 5)).sum(axis=1)
    well = generator.normal(0.4, 1.0, (200_000, 5)).sum(axis=1)

    def weighted(bias: float) -> float:
        return float((under > bias).mean() + ratio * (well <= bias).mean())

    best = srat_mixture.optimal_bias(mixture, ratio)
    for other in (best - 1, best + 1, srat_mixture.papers_bias(mixture, ratio), 0.0):
        assert weighted(best) < weighted(other)
    counted = ((under > best).mean(), (well <= best).mean())
    assert srat_mixture.errors_at(mixture, best) == pytest.approx(counted, abs=0.005)


def test_no_other_direction_is_better_than_equal_weights() -> None:
    """Any w sees the distance eta sum(w) / (sigma |w|); ones have the largest, sqrt(d) eta."""
    weights = np.random.default_rng(0).normal(1, 0.5, (1000, 6))
    seen = 0.5 * weights.sum(axis=1) / np.linalg.norm(weights, axis=1)
    mixture = Mixture(0.5, 1.0, 6)
    assert seen.max() < mixture.distance
    least = srat_mixture.risk(mixture, np.ones(6), -math.log(10), 10.0, 1.0)
    for distance in (float(seen.max()), float(np.median(seen))):
        errors = srat_mixture.optimal_errors(distance, 10.0)
        assert errors.under + 10 * errors.well > least


def test_the_minimiser_finds_a_robust_classifier_with_equal_weights() -> None:
    """eta 1, eps 0.4, sigma 1: S is 0.6, so b = log(1 / 10) / 1.2."""
    generator = np.random.default_rng(0)
    w, bias = srat_mixture.best_classifier(Mixture(1.0, 1.0, 3), 10.0, 1.0, generator, eps=0.4)
    np.testing.assert_allclose(w, 1, atol=1e-3)
    assert bias == pytest.approx(-math.log(10) / 1.2, abs=1e-3)


def test_the_attack_is_the_worst_corner_of_the_ball() -> None:
    """Every corner of the L-inf ball around 2,000 samples of each class in three dimensions."""
    mixture, eps, bias = Mixture(0.6, 1.0, 3), 0.25, -0.5
    corners = eps * np.array(list(itertools.product((-1, 1), repeat=3)))
    drawn = np.random.default_rng(1)
    under = drawn.normal(-0.6, 1.0, (2000, 1, 3)) + corners
    well = drawn.normal(0.6, 1.0, (2000, 1, 3)) + corners
    worst = Errors(
        float((under.sum(axis=2) > bias).any(axis=1).mean()),
        float((well.sum(axis=2) <= bias).any(axis=1).mean()),
    )
    expected = srat_mixture.errors_at(mixture.attacked(eps), bias)
    assert worst == pytest.approx(expected, abs=0.05)
    counted = srat_mixture.simulated_errors(mixture, bias, 20_000, drawn, eps)
    assert counted == pytest.approx(expected, abs=0.02)


def test_an_attack_that_reaches_the_other_mean_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        Mixture(0.5, 1.0, 2).attacked(0.5)
    assert str(caught.value) == "0 <= eps < eta = 0.5 must hold, got 0.5"


@pytest.mark.parametrize("ratio", [1.001, 1.5, 10.0, 1e4])
def test_gap_and_harm_fall_with_the_distance_for_every_ratio_above_one(ratio: float) -> None:
    for quantity in (srat_mixture.gap, srat_mixture.harm):
        values = [quantity(distance, ratio) for distance in np.linspace(0.9, 4, 40)]
        assert np.all(np.diff(values) < 0)
        assert min(values) > 0


def test_equal_classes_have_neither_gap_nor_harm() -> None:
    assert srat_mixture.gap(1.3, 1.0) == 0
    assert srat_mixture.harm(1.3, 1.0) == 0
