"""The surrogate against formulas worked out by hand, finite differences and plain refits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ltat_tune.search.predict.coordinates import Coordinates
from ltat_tune.search.predict.surrogate import Surrogate
from tests.search.predict.test_coordinates import domains

RANGES = {
    "optim.lr": {"type": "float", "low": 0.0, "high": 1.0},
    "optim.weight_decay": {"type": "float", "low": 0.0, "high": 1.0},
}
SPACE = Coordinates(domains({k: {**v, "low": 0.001} for k, v in RANGES.items()}))
NOISE = math.exp(-4) + 1e-6


def _levels(*levels: int) -> np.ndarray:
    return np.array(levels, dtype=np.intp)


def test_one_score_pulls_the_mean_by_its_share_of_the_variance() -> None:
    model = Surrogate(SPACE, 1)
    place = np.array([[0.2, 0.7]])
    model.condition(place, _levels(0), np.array([2.0]))
    mean, variance, _ = model.predict(place, 0)
    assert mean[0] == pytest.approx(2.0 * 1.1 / (1.1 + NOISE))  # prior variance 1 + 0.1
    assert variance[0] == pytest.approx(1.1 - 1.1**2 / (1.1 + NOISE))


def test_the_kernel_is_matern_with_a_length_for_each_parameter() -> None:
    model = Surrogate(SPACE, 1)
    model.theta[:2] = [math.log(4.0), math.log(9.0)]
    a, b = np.array([[0.0, 0.0]]), np.array([[0.5, 0.0], [0.0, 1.0]])
    squares = np.array([4 * 0.25, 9 * 1.0])
    r = np.sqrt(5 * squares)
    expected = (1 + r + r**2 / 3) * np.exp(-r) + 0.1
    assert model.kernel(a, _levels(0), b, _levels(0, 0))[0] == pytest.approx(expected)


def test_a_copy_says_as_much_about_the_whole_as_they_correlate() -> None:
    model = Surrogate(SPACE, 2)
    model.theta[-1] = math.atanh(0.6)
    place = np.array([[0.3, 0.3]])
    model.condition(place, _levels(0), np.array([1.5]))  # a copy alone
    mean, variance, _ = model.predict(place, 1)
    assert mean[0] == pytest.approx(0.6 * 1.5 / (1.1 + NOISE))
    assert variance[0] == pytest.approx(1.1 - 0.6**2 / (1.1 + NOISE))
    assert model.agreement[0] == pytest.approx(0.6)


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    places, levels = rng.random((12, 2)), _levels(*[0, 1] * 6)
    y = rng.normal(size=12)
    model = Surrogate(SPACE, 2)
    apart = SPACE.by_parameter(places, places)
    theta = model.theta + rng.normal(0, 0.3, len(model.theta))
    theta[3] = 0.0  # the whole level's amplitude is fixed
    _, slopes = model._loss(theta, apart, levels, y)
    for i in [j for j in range(len(theta)) if j != 3]:
        step = np.zeros(len(theta))
        step[i] = 1e-5
        up, down = (model._loss(theta + s * step, apart, levels, y)[0] for s in (1, -1))
        assert slopes[i] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_fit_returns_the_densities_of_scores_left_out() -> None:
    rng = np.random.default_rng(1)
    places, y = rng.random((9, 2)), rng.normal(size=9)
    levels = np.zeros(9, dtype=np.intp)
    model = Surrogate(SPACE, 1)
    densities = model.fit(places, levels, y)
    theta = model.theta.copy()
    for i in range(9):
        other = Surrogate(SPACE, 1)
        other.theta = theta
        keep = np.arange(9) != i
        other.condition(places[keep], levels[keep], y[keep])
        mean, variance, _ = other.predict(places[i : i + 1], 0)
        total = variance[0] + other.noise[0] + 1e-6
        expected = -0.5 * ((y[i] - mean[0]) ** 2 / total + math.log(2 * math.pi * total))
        assert densities[i] == pytest.approx(expected)


def test_a_parameter_without_effect_gets_a_long_length() -> None:
    rng = np.random.default_rng(2)
    places = rng.random((40, 2))
    y = np.sin(6 * places[:, 0])
    model = Surrogate(SPACE, 1)
    model.fit(places, np.zeros(40, dtype=np.intp), y)
    assert model.theta[0] > model.theta[1] + 2
    at = rng.random((50, 2))
    assert np.abs(model.predict(at, 0)[0] - np.sin(6 * at[:, 0])).max() < 0.2


def test_many_scores_are_fitted_by_a_part_and_all_are_conditioned_on() -> None:
    rng = np.random.default_rng(3)
    places = rng.random((300, 2))
    y = places[:, 0]
    model = Surrogate(SPACE, 1)
    densities = model.fit(places, np.zeros(300, dtype=np.intp), y)
    assert (densities != 0).sum() == 100
    assert model.predict(places, 0)[0] == pytest.approx(y, abs=0.05)
