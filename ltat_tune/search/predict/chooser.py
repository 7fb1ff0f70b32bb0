"""Decides what trains next by what a surrogate expects of the final score.

The searcher `predict`: every free slot takes the action with the highest expected gain per cost, a
whole training or a cheap copy of a new configuration. Nothing that trains is stopped for
its rank. Copies are not trusted: they count, and more are bought, only while the study's own pairs
show that they say something that the hyperparameters do not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ltat_tune.search.predict.belief import Belief
from ltat_tune.search.predict.coordinates import Coordinates, Floats
from ltat_tune.search.predict.forecast import Forecast
from ltat_tune.search.predict.observed import Observed, lent_to
from ltat_tune.search.predict.pools import Params, Pool
from ltat_tune.search.quota import Owed
from ltat_tune.search.rungs import Rungs, buys_copies, copy_cost, first_copies
from ltat_tune.search.stems import StemSharing
from ltat_tune.space.space import Space

_STARTUP = 8  # copies of random configurations, of which the best train whole first
_FIRST, _FIRST_ALONE = 2, 4  # whole trainings before any prediction: with copies, without
_PAIRS = 6  # whole trainings that a copy precedes, to learn what copies say
_COPIES_A_PAIR = 3  # copies that each pair of a copy and a whole score allows
_NEAR, _RIVALS = 40, 200  # copies that are weighed, and whole trainings that may follow them
_BEST = 5  # trials whose neighbours are candidates
_TRIED = 50  # candidates that turn out to be repeats before the search gives up

Repeats = Callable[[Params], bool]


@dataclass(frozen=True)
class Action:
    """The next training.

    Attributes:
        params: the configuration.
        number: the trial's number; None if it is new.
        copy: whether a copy trains.
    """

    params: Params
    number: int | None = None
    copy: bool = False


class Sharing(Protocol):
    """Knows what whole trainings share with earlier ones."""

    def shares(self, points: Sequence[Params], trained: Sequence[Params]) -> Floats:
        """Return the share of each training that is trained already, shape (N,)."""
        ...


class Chooser:
    """Chooses the next training of one scenario, as a function of its trials alone.

    Args:
        space: the tuned parameters, the objective and the searcher.
        place: index of the scenario, from 0: each has random numbers of its own.
        lent: trials of each scenario of an earlier study.
        copy_cost: cost of a copy, in whole trainings; 0 if there are no copies.
        sharing: what trainings share with earlier ones; None if nothing.
    """

    def __init__(
        self,
        space: Space,
        *,
        place: int = 0,
        lent: Sequence[Sequence[Observed]] = (),
        copy_cost: float = 0.0,
        sharing: Sharing | None = None,
    ) -> None:
        spec = space.searcher
        self._lent = lent
        self._evenly = spec.startup == "qmc"
        self._seed, self._sharing = spec.seed * 1009 + place * 101, sharing
        self._coordinates = Coordinates(space.tuned)
        self._pool = Pool(space.tuned, self._coordinates, self._seed)
        self._belief = Belief(space.tuned, self._coordinates)
        self._forecast = Forecast(self._coordinates, tuple(space.objective.at_least))
        afford = first_copies(space, copy_cost) if copy_cost else 0
        self._startup, self._pairs = min(_STARTUP, afford), min(_PAIRS, afford)
        # copies measure the first objective only, and two of them at least are compared
        copies = len(space.objective.values) == 1 and self._startup > 1
        self._copy_cost = copy_cost if copies else 0.0
        self._first = spec.startup_trials or (_FIRST if self._copy_cost else _FIRST_ALONE)

    def draw(self, rng: np.random.Generator) -> Params:
        """Return a random configuration."""
        return self._pool.draw(rng)

    def next(
        self,
        seen: Sequence[Observed],
        repeats: Repeats,
        *,
        left: float = math.inf,
        others: Sequence[Sequence[Observed]] = (),
        owed: Owed | None = None,
        reserved: int = 0,
    ) -> Action | None:
        """Return the next training; None if there is nothing new.

        Args:
            seen: the trials.
            repeats: whether a configuration trains the same as an earlier one.
            left: whole trainings that may still begin; a copy must leave one of them.
            others: the trials of each other problem. Once they tell enough, they are the start.
            owed: what the next whole training must have.
            reserved: whole trainings that are owed, which a copy must leave too.
        """
        copied = sum(o.copy is not None or o.busy == "copy" for o in seen)
        begun = sum(o.began_whole for o in seen)
        ended = sum(o.values is not None for o in seen)
        rng = np.random.default_rng([self._seed, len(seen), copied, begun, ended])
        copies = self._copy_cost > 0 and left >= max(1, reserved) + self._copy_cost
        others = [*others, *self._lent]
        lent = sum(o.values is not None for other in others for o in other) >= _FIRST_ALONE
        if copies and copied < self._startup and not lent:
            if (action := self._drawn(seen, repeats, rng, copy=True)) is not None:
                return action
        learn = functools.partial(self._predicted, seen, repeats, rng, others)
        if owed is not None:
            within = functools.partial(learn, copies=False, pairs=False, owed=owed)
            action = self._owed(seen, repeats, rng, owed, within if ended or lent else None)
            if action is not None:
                return action
        if not lent and (begun < self._first or not ended):
            waiting = [o for o in seen if o.waits]
            if waiting:
                return _whole(max(waiting, key=lambda o: (o.copy or 0.0, -o.number)))
            return self._drawn(seen, repeats, rng, copy=False)
        return learn(copies=copies, pairs=begun < self._pairs)

    def _drawn(
        self, seen: Sequence[Observed], repeats: Repeats, rng: np.random.Generator, *, copy: bool
    ) -> Action | None:
        """Return a configuration that nothing has trained: at random, or spread evenly.

        The very first one has the values of the priors.
        """
        if self._belief.values and not seen:
            return Action(self._pool.draw(rng, self._belief.values), copy=copy)
        for attempt in range(_TRIED):
            evenly = len(seen) + attempt if self._evenly else None
            point = self._pool.fresh([o.params for o in seen], rng, evenly=evenly)
            if point is None or not repeats(point):
                return None if point is None else Action(point, copy=copy)
        return None

    def _owed(
        self,
        seen: Sequence[Observed],
        repeats: Repeats,
        rng: np.random.Generator,
        owed: Owed,
        predicted: Callable[[], Action | None] | None,
    ) -> Action | None:
        """Return the whole training of a configuration that has what is owed, or None."""
        if owed.start is not None and not repeats(owed.start):
            return Action(owed.start)
        waiting = [o for o in seen if o.waits and owed.has(o.params)]
        if waiting:
            return _whole(max(waiting, key=lambda o: (o.copy or 0.0, -o.number)))
        if predicted is not None and (action := predicted()) is not None:
            return action
        drawn = (self._pool.draw(rng, owed.values) for _ in range(_TRIED))
        point = next((point for point in drawn if not repeats(point)), None)
        return None if point is None else Action(point)

    def _predicted(
        self,
        seen: Sequence[Observed],
        repeats: Repeats,
        rng: np.random.Generator,
        others: Sequence[Sequence[Observed]],
        *,
        copies: bool,
        pairs: bool,
        owed: Owed | None = None,
    ) -> Action | None:
        """Return the action with the highest expected gain per cost, of those that are owed."""
        forecast = self._forecast
        forecast.fit(seen, rng, others)
        waiting = [o for o in seen if o.waits and (owed is None or owed.has(o.params))]
        copied = sum(o.copy is not None or o.busy == "copy" for o in seen)
        ended = sorted((o for o in seen if o.values), key=lambda o: -(o.values or (0.0,))[0])
        fresh, places = self._pool.candidates(
            [o.params for o in seen], [o.params for o in ended[:_BEST]], rng
        )
        if owed is not None:
            kept = np.array([owed.has(point) for point in fresh], dtype=bool)
            fresh, places = [p for p, keep in zip(fresh, kept, strict=True) if keep], places[kept]
        points = [*(o.params for o in waiting), *fresh]
        if not points:
            return None
        places = np.r_[self._coordinates.place([o.params for o in waiting]), places]
        mean, variance, root = forecast.predict(places)
        cost = np.ones(len(points))
        if self._sharing is not None:
            cost -= self._sharing.shares(points, [o.params for o in ended])
        believed = self._belief.weights(points, places, len(ended))
        rate = forecast.gains(places, mean, variance) * believed / cost
        order = np.argsort(-rate, kind="stable")
        new = [i for i in order if i >= len(waiting)]
        top = next((i for i in order[:_TRIED] if i < len(waiting) or not repeats(points[i])), None)
        if top is None:
            return None
        whole = _whole(waiting[top]) if top < len(waiting) else Action(points[top])
        paired = sum(o.copy is not None and o.values is not None for o in seen)
        affordable = copied < self._startup + self._pairs + _COPIES_A_PAIR * paired
        if not (copies and new and affordable):
            return whole
        if not forecast.trusts_copies:  # a few more pairs may show what copies say
            return Action(points[top], copy=True) if pairs and whole.number is None else whole
        near, rivals = new[:_NEAR], order[:_RIVALS]
        rates = forecast.copy_rates(
            places[rivals], places[near], (mean[rivals], variance[rivals], root[:, rivals]),
            cost=cost[rivals], copy_cost=self._copy_cost,
        )  # fmt: skip
        for place in np.argsort(-rates, kind="stable"):
            if rates[place] <= rate[top]:
                break
            if not repeats(points[near[place]]):
                return Action(points[near[place]], copy=True)
        return whole


def _whole(trial: Observed) -> Action:
    """Return the whole training of a trial that waits."""
    return Action(trial.params, trial.number)


def build_chooser(space: Space, scenario: str, rungs: Rungs) -> Chooser | None:
    """Return the chooser of a scenario; None for another searcher."""
    if space.searcher.name != "predict":
        return None
    names = [s.name for s in space.scenarios]
    return Chooser(
        space, place=names.index(scenario), lent=lent_to(space, scenario),
        sharing=StemSharing(space, space.scenario(scenario)),
        copy_cost=copy_cost(space, rungs) if buys_copies(space) else 0.0,
    )  # fmt: skip
