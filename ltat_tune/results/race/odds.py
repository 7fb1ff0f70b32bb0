"""Gives each choice's chance to be truly the best, from the whole trainings that it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ltat_tune.results.lead import Doubles

_GRID = 4001  # values of an accuracy from 0 to 1


def odds(scores: Mapping[str, Sequence[float]], noise: float) -> dict[str, float]:
    """Return by choice the chance that its best configuration is truly the best of all.

    Each score is a true accuracy plus normal noise. A choice with fewer trials than another is
    given the missing ones: draws from the distribution of a further trial, Student's t around the
    mean of its own scores, with the spread within choices, pooled over all of them. So a choice
    that had one unlucky trial is not written off.

    Args:
        scores: the final scores of each choice, one or more, fractions.
        noise: standard deviation of a score around its true accuracy.
    """
    values = [np.asarray(own, dtype=float) for own in scores.values()]
    most, at = max(map(len, values)), np.linspace(0.0, 1.0, _GRID)
    spread, freedom = _spread(values)
    below = np.stack([_below(own, at, noise, most, spread, freedom) for own in values])
    rises, middle = np.diff(below, axis=1), (below[:, 1:] + below[:, :-1]) / 2
    chances = [
        float((rise * np.delete(middle, place, axis=0).prod(axis=0)).sum())
        for place, rise in enumerate(rises)
    ]
    return dict(zip(scores, chances, strict=True))


def _spread(values: Sequence[Doubles]) -> tuple[float, int]:
    """Return the standard deviation within choices, pooled, and its degrees of freedom."""
    freedom = sum(len(own) - 1 for own in values)
    squares = sum(float(((own - own.mean()) ** 2).sum()) for own in values)
    return (float(np.sqrt(squares / freedom)), freedom) if freedom else (0.0, 0)


def _below(
    own: Doubles, at: Doubles, noise: float, most: int, spread: float, freedom: int
) -> Doubles:
    """Return the probability that the best of a choice lies below each value, shape (G,)."""
    from scipy.stats import norm, t  # slow to import

    of_each: Doubles = norm.cdf((at - own[:, None]) / max(noise, 1.0 / _GRID))
    best: Doubles = _within(of_each).prod(axis=0)
    missing = most - len(own)
    if missing:
        scale = max(spread, noise, 1.0 / _GRID) * np.sqrt(1 + 1 / len(own))
        further: Doubles = t.cdf((at - own.mean()) / scale, freedom)
        best = best * _within(further[None])[0] ** missing
    return best


def _within(below: Doubles) -> Doubles:
    """Return distributions, shape (N, G), cut to accuracies: 0 at the left, 1 at the right."""
    low, high = below[:, :1], below[:, -1:]
    return (below - low) / (high - low)
