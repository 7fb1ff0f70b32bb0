"""Gains against closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtri

from ltat_tune.search.predict.acquisition import copy_rates, improvement, warped


def test_the_upper_half_keeps_its_distances_and_the_lower_its_ranks() -> None:
    scores = np.array([0.1, 0.5, 0.6, 0.8, np.nan])
    # median 0.5; upper half 0, 0.1, 0.3 above it: root mean square sqrt(0.1 / 3)
    unit = math.sqrt(0.1 / 3)
    expected = [ndtri(1.5 / 5), 0.0, 0.1 / unit, 0.3 / unit, ndtri(0.5 / 5)]
    assert warped(scores) == pytest.approx(expected)


def test_equal_scores_and_none_are_no_spread() -> None:
    assert warped(np.array([0.4, 0.4])) == pytest.approx([0.0, 0.0])
    assert len(warped(np.zeros(0))) == 0
    assert np.isfinite(warped(np.array([np.nan, np.nan]))).all()


def test_an_outcome_like_the_best_gains_its_deviation_over_root_two_pi() -> None:
    gain = improvement(np.array([1.0, 1.0]), np.array([0.25, 1e-12]), 1.0)
    assert gain == pytest.approx([0.5 / math.sqrt(2 * math.pi), 0.0], abs=1e-6)


def test_the_rate_of_a_copy_is_that_of_the_best_training_after_it() -> None:
    rng = np.random.default_rng(0)
    mean, best, copy_cost = np.array([0.0, 0.2]), 0.5, 0.1
    root = np.array([[1.0, 0.0, 0.0], [0.3, 0.6, 0.0], [0.7, 0.2, 0.5]])
    joint = root @ root.T  # of two final scores and a copy's outcome
    cost = np.array([1.0, 0.25])
    rate = copy_rates(
        mean, np.diag(joint)[:2], joint[:2, 2:], np.diag(joint)[2:],
        best=best, cost=cost, copy_cost=copy_cost,
    )  # fmt: skip
    outcomes = rng.normal(0, math.sqrt(joint[2, 2]), 200_000)
    shift = joint[:2, 2] / joint[2, 2]
    after = np.diag(joint)[:2] - joint[:2, 2] ** 2 / joint[2, 2]
    gains = [
        improvement(mean[i] + shift[i] * outcomes, np.full(len(outcomes), after[i]), best)
        / (cost[i] + copy_cost)
        for i in range(2)
    ]
    assert rate[0] == pytest.approx(np.maximum(*gains).mean(), rel=0.02)


def test_a_copy_that_says_nothing_is_worth_less_than_training() -> None:
    mean, variance, cost = np.array([0.3, 0.1]), np.array([0.2, 0.3]), np.ones(2)
    copies = copy_rates(
        mean, variance, np.zeros((2, 1)), np.ones(1), best=0.2, cost=cost, copy_cost=0.07
    )
    assert copies[0] == pytest.approx((improvement(mean, variance, 0.2) / 1.07).max())
