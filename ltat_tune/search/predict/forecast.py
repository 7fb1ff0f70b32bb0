"""What trials let one expect of others: final scores, and whether bounds are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from ltat_tune.search.predict.acquisition import copy_rates, improvement, scale, warped
from ltat_tune.search.predict.coordinates import Coordinates, Floats
from ltat_tune.search.predict.observed import Observed
from ltat_tune.search.predict.surrogate import Levels, Surrogate, spread

_COPY = 0  # the level of copies, where they count
_EVIDENCE = 1.0  # log density that copies must add to the whole scores of configurations with one
_DOUBT = 0.3  # share of the gain that a surrogate with shorter lengths expects
_UNSURE = 5.0  # with so many scores, draws spread 1.4 times as wide as the surrogate says
_TOGETHER = 0.05  # share of the sum of all objectives beside the least of them
_ALIKE = 0.7  # atanh of the correlation that is expected between two problems: 0.6
_FEW = 3  # scores of another problem, with which it tells something
_JUDGES = 4  # own scores, by which other problems are judged
_MOST_LENT = 60  # scores that all other problems lend

Data = tuple[Floats, Levels, Floats]  # coordinates, levels, scores
Points = tuple[Floats, Floats]  # coordinates, scores


class _Learned(NamedTuple):
    """A surrogate, what it was fitted to, and the log density of each own score left out."""

    model: Surrogate
    data: Data
    densities: Floats


class Forecast:
    """Predictions from what was observed.

    Copies count only if, with them, the whole scores of configurations that have a copy are better
    predicted from all other scores than without them. Whole scores of other problems count unless
    the own scores are predicted worse with them.

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
        self._scores: Floats = np.zeros(0)
        self.trusts_copies = self.trusts_others = False

    def fit(
        self,
        seen: Sequence[Observed],
        rng: np.random.Generator | None,
        others: Sequence[Sequence[Observed]] = (),
    ) -> None:
        """Learn from all trials; what still trains is expected to end as predicted.

        Args:
            seen: the trials.
            rng: weighs several objectives against each other; with None, the first one counts.
            others: the trials of each other problem, with the same parameters.
        """
        weights = _weights([*seen, *(o for other in others for o in other)], rng)
        scores = _scores(seen, weights)
        lent = [_scores(other, weights) for other in others]
        key = [[(o.number, o.copy, y) for o, y in zip(seen, scores, strict=True)], lent]
        if key != self._key:  # otherwise only what trains has changed
            self._key = key
            self._fit(seen, scores, list(zip(others, lent, strict=True)))
        places, levels, y = self._data
        busy = {"copy": _COPY, "whole": self._model.whole}
        for what, level in busy.items() if self.trusts_copies else [("whole", busy["whole"])]:
            if some := [o for o in seen if o.busy == what]:
                at = self._place(some)
                mean = self._model.predict(at, level)[0]
                lv = np.full(len(some), level)
                places, levels, y = np.r_[places, at], np.r_[levels, lv], np.r_[y, mean]
        self._model.condition(places, levels, y)
        self._doubting = self._model.doubting()
        ended = [o for o in seen if o.values is not None]
        kept = [o for o in ended if all(slack >= 0 for slack in (o.slack or {}).values())]
        self._best = float(self.predict(self._place(kept))[0].max()) if kept else None

    def predict(self, places: Floats) -> tuple[Floats, Floats, Floats]:
        """Return mean and variance of final scores, and the root that `copy_rates` needs."""
        return self._model.predict(places, self._model.whole)

    def gains(self, places: Floats, mean: Floats, variance: Floats) -> Floats:
        """Return the expected gain over the best of whole trainings; bounds count too.

        Until a trial keeps all bounds, the gain is the probability of keeping them. Before any own
        score, what other problems expect is the gain.
        """
        gain = np.ones(len(mean))
        if self._best is None and self.trusts_others and not self._limits:
            gain = mean - mean.min()
        elif self._best is not None:
            other_mean, other_variance, _ = self._doubting.predict(places, self._model.whole)
            other = improvement(other_mean, other_variance, self._best)
            gain = (1 - _DOUBT) * improvement(mean, variance, self._best) + _DOUBT * other
        for limit in self._limits:
            slack, spread, _ = limit.predict(places, 0)
            gain = gain * ndtr(slack / np.sqrt(spread))
        return gain

    def draws(self, places: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Return scores that trials may end with, noise included, shape (count, N).

        They come from the surrogate with shorter lengths, and spread wider where few scores are
        known: the most probable lengths promise less than what comes (scripts/bench_outlook.py).
        A score that breaks a bound is -inf.
        """
        middle, unit = scale(self._scores)
        mean, _, _ = self._doubting.predict(places, self._doubting.whole)
        apart = self._doubting.draws(places, count, rng) - mean
        wider = np.hypot(1.0, _UNSURE / max(len(self._scores), 1))
        scores: Floats = middle + unit * (mean + wider * apart)
        for limit in self._limits:
            scores[limit.draws(places, count, rng) < 0] = -np.inf
        return scores

    def merits(self, places: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Return scores that configurations may deserve, without luck, shape (count, N)."""
        return self._model.draws(places, count, rng, noise=False)

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
        _, spread, root_near = self._model.predict(near, _COPY)
        whole, copy = np.full(len(places), self._model.whole), np.full(len(near), _COPY)
        covariance = self._model.kernel(places, whole, near, copy) - root.T @ root_near
        return copy_rates(
            mean, variance, covariance, spread + self._model.noise[_COPY],
            best=self._best or 0.0, cost=cost, copy_cost=copy_cost,
        )  # fmt: skip

    # -- inside ---------------------------------------------------------------------------------

    def _place(self, some: Sequence[Observed]) -> Floats:
        return self._coordinates.place([o.params for o in some])

    def _fit(
        self,
        seen: Sequence[Observed],
        scores: Sequence[float | None],
        others: Sequence[tuple[Sequence[Observed], Sequence[float | None]]],
    ) -> None:
        own = self._scored(seen, scores)
        self._scores = np.array([y for y in scores if y is not None])
        paired = [o.copy is not None for o, y in zip(seen, scores, strict=True) if y is not None]
        lent = [self._scored(*other) for other in others]
        lent = [(at[some], y[some]) for at, y in lent if len(y) >= _FEW
                for some in [spread(y, max(_FEW, _MOST_LENT // len(lent)))]]  # fmt: skip
        learned = self._learn([], own)
        self.trusts_copies = self.trusts_others = False
        if lent:
            more = self._learn(lent, own)
            told = (more.densities - learned.densities).sum()
            if len(paired) < _JUDGES or told >= 0:
                learned, self.trusts_others = more, True
        copied = [o for o in seen if o.copy is not None]
        if any(paired) and len(copied) > 1:
            copies = self._scored(copied, [o.copy for o in copied])
            more = self._learn(lent if self.trusts_others else [], own, copies)
            if (more.densities - learned.densities)[paired].sum() > _EVIDENCE:
                learned, self.trusts_copies = more, True
        self._model, self._data = learned.model, learned.data
        self._limits = [self._limit(seen, metric) for metric in self._bounds]

    def _learn(self, lent: Sequence[Points], own: Points, *copies: Points) -> _Learned:
        """Fit a surrogate to copies, scores of other problems and the own whole scores."""
        sources = [*copies, *lent, own]
        levels = np.repeat(np.arange(len(sources)), [len(y) for _, y in sources])
        data = (
            np.concatenate([at for at, _ in sources]),
            levels,
            np.concatenate([y for _, y in sources]),
        )
        model = Surrogate(
            self._coordinates, len(sources), [*[None] * len(copies), *[_ALIKE] * len(lent)]
        )
        return _Learned(model, data, model.fit(*data)[len(data[2]) - len(own[1]) :])

    def _scored(self, some: Sequence[Observed], scores: Sequence[float | None]) -> Points:
        """Return where those lie that have a score, and their scores as a surrogate takes them."""
        pairs = [(o, y) for o, y in zip(some, scores, strict=True) if y is not None]
        return self._place([o for o, _ in pairs]), warped(np.array([y for _, y in pairs]))

    def _limit(self, seen: Sequence[Observed], metric: str) -> Surrogate:
        """Return a surrogate of how far trials are above a bound."""
        some = [o for o in seen if o.slack and metric in o.slack]
        slack = np.array([(o.slack or {})[metric] for o in some], dtype=float)
        spread = float(np.sqrt(np.mean(slack**2))) if len(slack) else 1.0
        model = Surrogate(self._coordinates, 1)
        model.fit(self._place(some), np.zeros(len(some), dtype=np.intp), slack / (spread or 1.0))
        return model


def _weights(seen: Sequence[Observed], rng: np.random.Generator | None) -> Floats:
    """Return what each objective counts: at random, every other time; else only the first."""
    count = max((len(o.values) for o in seen if o.values is not None), default=1)
    if rng is not None and count > 1 and rng.random() < 0.5:
        return rng.dirichlet(np.ones(count))
    first: Floats = np.eye(count)[0]
    return first


def _scores(seen: Sequence[Observed], weights: Floats) -> list[float | None]:
    """Return one final score for each trial, nan if it diverged, None if it has none."""
    count = len(weights)
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
