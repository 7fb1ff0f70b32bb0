"""Draws the configurations among which a searcher chooses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats.qmc import Sobol

from ltat_tune.search.predict.coordinates import Coordinates, Floats
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.enumeration import all_points

Params = Mapping[str, Any]

_MOST = 1024  # configurations that do not depend on the best
_NEIGHBOURS = 24  # of each of the best
_SPREAD = 0.1  # of a number's neighbours, as a share of its range
_SECOND_CHANGE = 0.3  # how often a neighbour differs in a second parameter too
_DRAWS = 1000


class Pool:
    """Candidates of one search: every configuration, or if they are many, a large sample.

    Args:
        tuned: the domains, by path.
        coordinates: place the configurations.
        seed: of the sample.
    """

    def __init__(self, tuned: Mapping[str, Domain], coordinates: Coordinates, seed: int) -> None:
        self._domains = [tuned[path] for path in sampling_order(tuned)]
        self._coordinates, self._seed = coordinates, seed
        every = all_points(tuned)
        self.is_whole = every is not None and len(every) <= _MOST
        rng = np.random.default_rng(seed)
        if not self.is_whole or every is None:
            every = [self.draw(rng) for _ in range(_MOST)]
        self._points: dict[tuple[Any, ...], Params] = {self.key(p): p for p in every}
        self._places = coordinates.place(list(self._points.values()))

    def key(self, point: Params) -> tuple[Any, ...]:
        """Return what tells a configuration from others."""
        return tuple(point.get(domain.path) for domain in self._domains)

    def draw(self, rng: np.random.Generator, given: Params | None = None) -> dict[str, Any]:
        """Return a random configuration, but with the given values."""
        return self._at(rng.random(len(self._domains)), given)

    def fresh(
        self, seen: Iterable[Params], rng: np.random.Generator, *, evenly: int | None = None
    ) -> Params | None:
        """Return a configuration that was not seen; None if there is none left.

        Args:
            seen: configurations.
            rng: draws it.
            evenly: take the first new one from this place of a scrambled Sobol sequence on, which
                the pool's seed decides; None draws at random.
        """
        known = {self.key(point) for point in seen}
        sequence = None
        if evenly is not None:
            sequence = Sobol(len(self._domains), scramble=True, seed=self._seed)
            if evenly > 0:
                sequence.fast_forward(evenly)
        for _ in range(_DRAWS):
            point = self.draw(rng) if sequence is None else self._at(sequence.random(1)[0])
            if self.key(point) not in known:
                return point
        left = [p for key, p in self._points.items() if key not in known]
        return left[rng.integers(len(left))] if left and self.is_whole else None

    def candidates(
        self, seen: Iterable[Params], best: Sequence[Params], rng: np.random.Generator
    ) -> tuple[list[Params], Floats]:
        """Return configurations that were not seen, and their coordinates.

        In a large space, they are the sample and neighbours of the best.
        """
        known = {self.key(point) for point in seen}
        there = [key not in known for key in self._points]
        points = [p for p, new in zip(self._points.values(), there, strict=True) if new]
        places = self._places[np.array(there, dtype=bool)]
        if self.is_whole:
            return points, places
        near: dict[tuple[Any, ...], Params] = {}
        for point in best:
            for _ in range(_NEIGHBOURS):
                neighbour = self._neighbour(point, rng)
                if (key := self.key(neighbour)) not in known:
                    near[key] = neighbour
        more = list(near.values())
        return [*points, *more], np.concatenate([places, self._coordinates.place(more)])

    def _at(self, shares: Floats, given: Params | None = None) -> dict[str, Any]:
        """Return the configuration at these shares of all domains, but with the given values."""
        point: dict[str, Any] = {}
        for domain, share in zip(self._domains, shares, strict=True):
            if domain.active(point):
                known = given is not None and domain.path in given
                value = given[domain.path] if given and known else _value(domain, share)
                point[domain.path] = value
        return point

    def _neighbour(self, point: Params, rng: np.random.Generator) -> dict[str, Any]:
        changed, present = dict(point), [d for d in self._domains if d.path in point]
        count = 1 + int(rng.random() < _SECOND_CHANGE)
        for place in rng.permutation(len(present))[:count]:
            domain = present[place]
            changed[domain.path] = _moved(domain, point[domain.path], rng)
        return self._at(rng.random(len(self._domains)), changed)


def _value(domain: Domain, share: float) -> Any:
    """Return the value at a share of a domain, in [0, 1)."""
    if domain.kind == "categorical":
        return domain.choices[int(share * len(domain.choices))]
    step = domain.step or (1 if domain.kind == "int" else None)
    low, high = domain.low, domain.high
    if step is not None and not domain.log:
        value = low + step * int(share * (round((high - low) / step) + 1))
    elif domain.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    value = min(max(value, low), high)
    return round(value) if domain.kind == "int" else float(value)


def _moved(domain: Domain, value: Any, rng: np.random.Generator) -> Any:
    """Return another choice, or a number nearby."""
    if domain.kind == "categorical":
        others = [choice for choice in domain.choices if choice != value]
        return others[rng.integers(len(others))]
    low, high, at = (
        math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, value)
    )
    share = (at - low) / (high - low) + rng.normal(0, _SPREAD)
    return _value(domain, min(max(share, 0.0), 1 - 1e-9))
