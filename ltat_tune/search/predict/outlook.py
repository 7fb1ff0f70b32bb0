"""What more trials would be expected to bring: the rise of the best score so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from ltat_tune.presentation.units import percent
from ltat_tune.search.predict.coordinates import Coordinates
from ltat_tune.search.predict.forecast import Forecast
from ltat_tune.search.predict.observed import Observed, lent_to, observe
from ltat_tune.search.predict.pools import Pool
from ltat_tune.search.rungs import place_rungs
from ltat_tune.space.domains import Domain
from ltat_tune.space.space import Space

LEAST = 8  # complete trials, with fewer of which nothing is said
_CANDIDATES = 128  # configurations that may follow, the most promising ones
_DRAWS = 256  # of their scores
_CHANCE = 0.05  # to be the best, with which a trial is worth confirming
_BEST = 5  # trials whose neighbours are candidates
_OPTIMISM = 1.5  # standard deviations, by which candidates are ranked


@dataclass(frozen=True)
class Outlook:
    """What is expected of more trials.

    Attributes:
        trials: how many.
        gain: expected rise of the best score of the first objective, as a share such as 0.004.
    """

    trials: int
    gain: float

    @property
    def sentence(self) -> str:
        """Such as `12 more trials are expected to add 0.4 points to the best score`."""
        trials = "1 more trial is" if self.trials == 1 else f"{self.trials} more trials are"
        return f"{trials} expected to add {percent(self.gain)} points to the best score"


def look_ahead(
    tuned: Mapping[str, Domain],
    seen: Sequence[Observed],
    more: Sequence[int],
    *,
    bounds: Sequence[str] = (),
    others: Sequence[Sequence[Observed]] = (),
    seed: int = 0,
) -> list[Outlook]:
    """Return what so many more whole trainings are expected to add to the best score.

    Scores of the most promising configurations are drawn from the surrogate, all at once and with
    their noise. Those that follow are chosen one by one for what they add on average. The score is
    what validation will measure, so the rise holds the luck of many tries too.

    Args:
        tuned: the domains, by path.
        seen: the trials.
        more: numbers of further trials.
        bounds: the metrics of `objective.at_least`.
        others: the trials of each other problem, with the same parameters.
        seed: of the draws.

    Returns:
        One for each number; empty with fewer than `LEAST` complete trials.
    """
    ended = sorted((o for o in seen if o.values), key=lambda o: -(o.values or (0.0,))[0])
    if len(ended) < LEAST or not any(_keeps(o) for o in ended):
        return []
    rng, coordinates = np.random.default_rng([seed, len(seen)]), Coordinates(tuned)
    pool, forecast = Pool(tuned, coordinates, seed), Forecast(coordinates, bounds)
    forecast.fit(seen, None, others)
    best = [o.params for o in ended[:_BEST]]
    points, places = pool.candidates([o.params for o in seen], best, rng)
    if not points:
        return [Outlook(count, 0.0) for count in more]
    mean, variance, _ = forecast.predict(places)
    top = np.argsort(-(mean + _OPTIMISM * np.sqrt(variance)), kind="stable")[:_CANDIDATES]
    scores = forecast.draws(places[top], _DRAWS, rng)
    start = max((o.values or (0.0,))[0] for o in ended if _keeps(o))
    reached, rises = np.full(_DRAWS, start), [0.0]
    while len(rises) <= min(max(more), scores.shape[1]):
        then = np.maximum(reached[:, None], scores)
        choice = int(then.mean(0).argmax())
        reached = then[:, choice]
        rises.append(float(reached.mean()) - start)
    return [Outlook(count, rises[min(count, len(rises) - 1)]) for count in more]


def outlook_of(
    space: Space, rows: Mapping[str, Sequence[FrozenTrial]], scenario: str, more: int
) -> Outlook | None:
    """Return what so many more trials of a scenario are expected to bring; None if unknown.

    Args:
        space: the study's space.
        rows: of every scenario, by its name.
        scenario: its name.
        more: number of further whole trainings.
    """
    if space.searcher.enumerates or more < 1:
        return None
    copy_epochs = sum(place_rungs(space).copies)
    trials = {
        name: observe(own, copy_epochs=copy_epochs, measured=True) for name, own in rows.items()
    }
    own = trials.pop(scenario)
    expected = look_ahead(
        space.tuned, own, [more], bounds=tuple(space.objective.at_least),
        others=[*trials.values(), *lent_to(space, scenario)], seed=space.searcher.seed,
    )  # fmt: skip
    return expected[0] if expected else None


def count_contenders(space: Space, ranked: Sequence[FrozenTrial], scenario: str) -> int:
    """Return how many of the best trials another seed may show to be the best.

    A trial contends if the surrogate gives it a chance of `_CHANCE` at least to be the best once
    the noise of its one training is taken off.

    Args:
        space: the study's space.
        ranked: complete trials, best first.
        scenario: its name.
    """
    most = min(space.confirm.top, len(ranked))
    if len(ranked) < LEAST:
        return most
    trials, coordinates = observe(ranked, copy_epochs=0), Coordinates(space.tuned)
    forecast = Forecast(coordinates, ())
    forecast.fit(trials, None, lent_to(space, scenario))
    places = coordinates.place([trial.params for trial in trials])
    rng = np.random.default_rng(space.searcher.seed)
    best = forecast.merits(places, _DRAWS, rng).argmax(1)
    chances = np.bincount(best, minlength=len(ranked)) / _DRAWS
    return max(1, sum(bool(chance >= _CHANCE) for chance in chances[:most]))


def _keeps(trial: Observed) -> bool:
    return all(slack >= 0 for slack in (trial.slack or {}).values())
