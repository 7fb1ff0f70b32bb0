"""The chance of a choice to be the best, against formulas and draws worked out apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from ltat_tune.results.race.odds import odds


def test_two_trials_differ_as_two_normal_numbers_do() -> None:
    chances = odds({"pgd_at": [0.60], "trades": [0.58]}, 0.02)
    assert chances["pgd_at"] == pytest.approx(ndtr(0.02 / (0.02 * np.sqrt(2))), abs=1e-4)
    assert sum(chances.values()) == pytest.approx(1, abs=1e-4)


def test_equals_have_equal_chances() -> None:
    chances = odds({name: [0.4, 0.5] for name in ("pgd_at", "trades", "mart", "srat")}, 0.01)
    assert list(chances.values()) == pytest.approx([0.25] * 4, abs=1e-3)


def test_a_choice_with_fewer_trials_gets_the_missing_ones() -> None:
    """Against a million draws: noise around each score, and t with 3 degrees of freedom."""
    many, one, noise = np.array([0.50, 0.52, 0.55, 0.53]), 0.53, 0.01
    rng = np.random.default_rng(0)
    draws = 10**6
    best_of_many = (many + noise * rng.standard_normal((draws, 4))).max(axis=1)
    scale = many.std(ddof=1) * np.sqrt(2)
    further = one + scale * rng.standard_t(3, (draws, 3))
    further[(further < 0) | (further > 1)] = one  # one in 10^4: an accuracy lies between
    best_of_one = np.maximum(one + noise * rng.standard_normal(draws), further.max(axis=1))
    drawn = float((best_of_one > best_of_many).mean())
    chances = odds({"tried": list(many), "untried": [one]}, noise)
    assert chances["untried"] == pytest.approx(drawn, abs=3e-3)
    assert chances["untried"] > odds({"tried": [0.55], "untried": [one]}, noise)["untried"]


def test_without_noise_the_better_one_is_sure() -> None:
    assert odds({"a": [0.5], "b": [0.6]}, 1e-9) == pytest.approx({"a": 0, "b": 1}, abs=1e-6)
