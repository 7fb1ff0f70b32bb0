"""Places configurations in a space in which a surrogate can measure how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltat_tune.space.domains import Domain, sampling_order

Floats = NDArray[np.float64]

_ABSENT = 0.5  # where a number lies that does not exist in a configuration


class Coordinates:
    """The coordinates of configurations, and the squared distances between them.

    A number lies in [0, 1], on its own scale; numeric choices lie at even distances. Two different
    names are 1 apart, and so are a name and the absence of one. An absent number lies in the
    middle: the parameter that decides whether it exists tells the configurations apart.

    Args:
        tuned: the domains, by path.

    Attributes:
        columns: parameters, by the coordinate that holds each; a name takes several.
        parameters: number of parameters.
    """

    def __init__(self, tuned: Mapping[str, Domain]) -> None:
        self._domains = [tuned[path] for path in sampling_order(tuned)]
        widths = [len(d.choices) + 1 if _is_nominal(d) else 1 for d in self._domains]
        self.columns: NDArray[np.intp] = np.repeat(np.arange(len(widths)), widths)
        self.parameters = len(widths)

    def place(self, points: Sequence[Mapping[str, Any]]) -> Floats:
        """Return the coordinates of configurations, shape (N, D)."""
        rows = [[x for d in self._domains for x in _placed(d, point)] for point in points]
        return np.array(rows, dtype=float).reshape(len(points), len(self.columns))

    def by_parameter(self, a: Floats, b: Floats) -> Floats:
        """Return the squared distances in each parameter, shape (P, N, M)."""
        apart = (a.T[:, :, None] - b.T[:, None, :]) ** 2
        total = np.zeros((self.parameters, len(a), len(b)))
        np.add.at(total, self.columns, apart)
        return total


def weighted(a: Floats, b: Floats, weights: Floats) -> Floats:
    """Return squared distances, shape (N, M), with a weight for each coordinate."""
    scaled_a, scaled_b = a * np.sqrt(weights), b * np.sqrt(weights)
    squares = (scaled_a**2).sum(1)[:, None] + (scaled_b**2).sum(1)[None]
    apart: Floats = np.maximum(squares - 2 * scaled_a @ scaled_b.T, 0.0)
    return apart


def _is_nominal(domain: Domain) -> bool:
    return domain.kind == "categorical" and not all(_is_number(c) for c in domain.choices)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _placed(domain: Domain, point: Mapping[str, Any]) -> list[float]:
    exists = domain.path in point
    value: Any = point.get(domain.path)
    if _is_nominal(domain):
        names = [c == value and exists for c in domain.choices]
        return [math.sqrt(0.5) * x for x in (*names, not exists)]
    if not exists:
        return [_ABSENT]
    if domain.kind == "categorical":
        ranked = sorted(domain.choices)
        return [ranked.index(value) / (len(ranked) - 1)]
    low, high = (math.log(x) if domain.log else x for x in (domain.low, domain.high))
    there = (math.log(value) if domain.log else value) - low
    return [min(max(there / (high - low), 0.0), 1.0)]
