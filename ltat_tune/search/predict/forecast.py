"""What a study's own trials let one expect: final scores, and whether bounds are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from ltat_tune.search.predict.acquisition import copy_rates, improvement, warped
from ltat_tune.search.predict.coordinates import Coordinates, Floats
from ltat_tune.search.predict.observed import Observed
from ltat_tune.search.predict.surrogate import Levels, Surrogate

COPY, WHOLE = 0, 1
_EVIDENCE = 1.0  # log density that copies must add to the whole scores of configurations with one
_DOUBT = 0.3  # share of the gain that a surrogate with shorter lengths expects
_TOGETHER = 0.05  # share of the sum of all objectives beside the least of them

Data = tuple[Floats, Levels, Floats]  # coordinates, levels, scores


class Forecast:
    """Predictions from what was observed.

    Copies count only if, with them, the whole scores of configurations that have a copy are better
    predicted from all other scores than without them.

    Args:
        coordinates: place the configurations.
        bounds: the metrics of `objective.at_least`.
    """

    def __init__(self, coordinates: Coordinates, bounds: Sequence[str]) -> None:
        self._coordinates, self._bounds = coordinates, bounds
        self._key: Any = None
        self._model = Surrogate(coordinates, 1)
        self._data: Data = _no_data(coordinates)
        self._limits: list[Surrogate] = []
        self.trusts_copies = False

    def fit(self, seen: Sequence[Observed], rng: np.random.Generator) -> None:
        """Learn from all trials; what still trains is expected to end as predicted.

        Args:
            seen: the trials.
            rng: weighs several objectives against each other.
        """
        scores = _scores(seen, rng)
        key = [(o.number, o.copy, y) for o, y in zip(seen, scores, strict=True)]
        if key != self._key:  # otherwise only what trains has changed
            self._key = key
            self._fit(seen, scores)
        places, levels, y = self._data
        for level, busy in ((COPY, "copy"), (WHOLE, "whole")):
            some = [o for o in seen if o.busy == busy]
            if some and (level == WHOLE or self.trusts_copies):
                at = self._place(some)
                mean = self.predict(at)[0] if level == WHOLE else self._model.predict(at, COPY)[0]
                lv = np.full(len(some), self._level if level == WHOLE else COPY)
                places, levels, y = np.r_[places, at], np.r_[levels, lv], np.r_[y, mean]
        self._model.condition(places, levels, y)
        self._doubting = self._model.doubting()
        ended = [o for o in seen if o.values is not None]
        kept = [o for o in ended if all(slack >= 0 for slack in (o.slack or {}).values())]
        self._best = float(self.predict(self._place(kept))[0].max()) if kept else None

    def predict(self, places: Floats) -> tuple[Floats, Floats, Floats]:
        """Return mean and variance of final scores, and the root that `copy_rates` needs."""
        return self._model.predict(places, self._level)

    def gains(self, places: Floats, mean: Floats, variance: Floats) -> Floats:
        """Return the expected gain over the best of whole trainings; bounds count too.

        Until a trial keeps all bounds, the gain is the probability of keeping them.
        """
        gain = np.ones(len(mean))
        if self._best is not None:
            other_mean, other_variance, _ = self._doubting.predict(places, self._level)
            other = improvement(other_mean, other_variance, self._best)
            gain = (1 - _DOUBT) * improvement(mean, variance, self._best) + _DOUBT * other
        for limit in self._limits:
            slack, spread, _ = limit.predict(places, 0)
            gain = gain * ndtr(slack / np.sqrt(spread))
        return gain

    def copy_rates(
        self,
        places: Floats,
        near: Floats,
        predicted: tuple[Floats, Floats, Floats],
        *,
        cost: Floats,
        copy_cost: float,
    ) -> Floats:
        """Return the gain per cost of copies, as `acquisition.copy_rates` defines it.

        Args:
            places: of the whole trainings that may follow.
            near: of the copies.
            predicted: of the whole trainings, from `predict`.
            cost: of the whole trainings.
            copy_cost: of a copy.
        """
        mean, variance, root = predicted
        _, spread, root_near = self._model.predict(near, COPY)
        whole, copy = np.full(len(places), WHOLE), np.full(len(near), COPY)
        covariance = self._model.kernel(places, whole, near, copy) - root.T @ root_near
        return copy_rates(
            mean, variance, covariance, spread + self._model.noise[COPY],
            best=self._best or 0.0, cost=cost, copy_cost=copy_cost,
        )  # fmt: skip

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _level(self) -> int:
        return WHOLE if self.trusts_copies else 0

    def _place(self, some: Sequence[Observed]) -> Floats:
        return self._coordinates.place([o.params for o in some])

    def _fit(self, seen: Sequence[Observed], scores: Sequence[float | None]) -> None:
        whole = [(o, y) for o, y in zip(seen, scores, strict=True) if y is not None]
        at, y = self._place([o for o, _ in whole]), warped(np.array([y for _, y in whole]))
        self._model = Surrogate(self._coordinates, 1)
        self._data = at, np.zeros(len(y), dtype=np.intp), y
        alone = self._model.fit(*self._data)
        self.trusts_copies = False
        copied = [o for o in seen if o.copy is not None]
        paired = np.array([o.copy is not None for o, _ in whole], dtype=bool)
        if paired.any() and len(copied) > 1:
            copies = warped(np.array([o.copy for o in copied], dtype=float))
            levels = np.repeat([COPY, WHOLE], [len(copies), len(y)])
            both = np.r_[self._place(copied), at], levels, np.r_[copies, y]
            model = Surrogate(self._coordinates, 2)
            with_copies = model.fit(*both)
            if (with_copies[len(copies) :] - alone)[paired].sum() > _EVIDENCE:
                self._model, self._data, self.trusts_copies = model, both, True
        self._limits = [self._limit(seen, metric) for metric in self._bounds]

    def _limit(self, seen: Sequence[Observed], metric: str) -> Surrogate:
        """Return a surrogate of how far trials are above a bound."""
        some = [o for o in seen if o.slack and metric in o.slack]
        slack = np.array([(o.slack or {})[metric] for o in some], dtype=float)
        spread = float(np.sqrt(np.mean(slack**2))) if len(slack) else 1.0
        model = Surrogate(self._coordinates, 1)
        model.fit(self._place(some), np.zeros(len(some), dtype=np.intp), slack / (spread or 1.0))
        return model


def _scores(seen: Sequence[Observed], rng: np.random.Generator) -> list[float | None]:
    """Return one final score for each trial, nan if it diverged, None if it has none.

    Several objectives are weighed at random, every other time; else only the first one counts.
    """
    count = max((len(o.values) for o in seen if o.values is not None), default=1)
    weights = np.eye(count)[0]
    if count > 1 and rng.random() < 0.5:
        weights = rng.dirichlet(np.ones(count))
    values = np.array([o.values for o in seen if o.values is not None], dtype=float)
    if count > 1 and len(values):
        low, high = values.min(0), values.max(0)
        shares = weights * (values - low) / np.where(high > low, high - low, 1.0)
        sums = shares.sum(1)
        least = shares[:, weights > 0].min(1) if (weights > 0).sum() > 1 else sums
        made = iter((least + _TOGETHER * sums).tolist())
    else:
        made = iter(values[:, 0].tolist() if len(values) else [])
    return [next(made) if o.values is not None else math.nan if o.diverged else None for o in seen]


def _no_data(coordinates: Coordinates) -> Data:
    return coordinates.place([]), np.zeros(0, dtype=np.intp), np.zeros(0)
