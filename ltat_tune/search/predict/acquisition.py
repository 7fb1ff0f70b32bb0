"""What a surrogate expects to gain: by a whole training, and by a copy before it."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from ltat_tune.search.predict.coordinates import Floats

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_LEAST_SPREAD = 0.02  # smaller differences of accuracies are mostly noise
_BELOW = 1e-6  # the worst score less this is what a diverged training is worth


def warped(scores: Floats) -> Floats:
    """Return scores, shape (N,), as a surrogate models them; nan is a diverged training.

    They are in units of the upper half's spread around the median. Below the median only their
    ranks count (the warping of Vizier's GP bandit, Song2024Vizier, arXiv:2408.11527).
    """
    if len(scores) == 0:
        return scores
    y = _filled(scores)
    middle, unit = scale(scores)
    z: Floats = (y - middle) / unit
    low = y < middle
    z[low] = ndtri((np.argsort(np.argsort(y))[low] + 0.5) / len(y))
    return z


def scale(scores: Floats) -> tuple[float, float]:
    """Return the median of scores, and the unit in which `warped` measures those above it."""
    y = _filled(scores)
    middle = float(np.median(y))
    return middle, max(float(np.sqrt(np.mean((y[y >= middle] - middle) ** 2))), _LEAST_SPREAD)


def _filled(scores: Floats) -> Floats:
    worst = np.nanmin(scores) if np.isfinite(scores).any() else 0.0
    y: Floats = np.where(np.isnan(scores), worst - _BELOW, scores)
    return y


def improvement(mean: Floats, variance: Floats, best: float) -> Floats:
    """Return the expected improvement of normal outcomes over `best`."""
    deviation = np.sqrt(variance)
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    gain: Floats = deviation * (z * ndtr(z) + density)
    return gain


def copy_rates(
    mean: Floats,
    variance: Floats,
    covariance: Floats,
    copy_variance: Floats,
    *,
    best: float,
    cost: Floats,
    copy_cost: float,
) -> Floats:
    """Return the gain per cost of each copy, if the best whole training follows its outcome.

    E over the outcome of the copy of max over configurations of EI(after it) / (cost + copy_cost),
    by Gauss-Hermite quadrature.

    Args:
        mean: predicted final scores, shape (N,).
        variance: of these, shape (N,).
        covariance: of final scores with the copies' outcomes, shape (N, M).
        copy_variance: of the copies' outcomes, noise included, shape (M,).
        best: the score to improve on.
        cost: of each whole training, shape (N,).
        copy_cost: of a copy.

    Returns:
        Shape (M,).
    """
    step = covariance / np.sqrt(copy_variance)
    after = np.maximum(variance[:, None] - step**2, 1e-9)
    price = cost[:, None] + copy_cost
    rates = [
        weight * (improvement(mean[:, None] + step * node, after, best) / price).max(0)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True)
    ]
    total: Floats = np.sum(rates, axis=0)
    return total
