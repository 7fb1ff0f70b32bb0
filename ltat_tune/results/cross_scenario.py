"""The one configuration that is best on average over a study's scenarios."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import rankdata

from ltat_tune.storage.trials import TrialRow

_JUDGED = ("complete", "pruned", "diverged")


@dataclass(frozen=True)
class Average:
    """One configuration that every scenario has judged.

    Attributes:
        params: what was proposed.
        ranks: scenario -> rank among the configurations that all scenarios share, 1 is best.
        mean_rank: of those.
        trials: scenario -> the trial.
    """

    params: Mapping[str, Any]
    ranks: Mapping[str, float]
    mean_rank: float
    trials: Mapping[str, TrialRow]


def on_average(rows: Mapping[str, Sequence[TrialRow]]) -> list[Average]:
    """Configurations that all scenarios tried, lowest mean rank first; empty with one scenario.

    A rank is by the score of the search and among the shared configurations alone, so that every
    scenario weighs the same, however many trials it had. A trial that was stopped early comes
    after all that were trained to their end, those that missed `objective.at_least` come after
    that, diverged ones last; equals share their mean rank. Of equal means the best worst rank
    comes first, then the higher mean score.

    Args:
        rows: scenario -> its trials.
    """
    if len(rows) < 2:
        return []
    tried = {name: _by_configuration(trials) for name, trials in rows.items()}
    shared = [key for key in next(iter(tried.values())) if all(key in t for t in tried.values())]
    if not shared:
        return []
    ranks = {
        name: rankdata([_standing(trials[key]) for key in shared])
        for name, trials in tried.items()
    }
    found = []
    for place, key in enumerate(shared):
        own = {name: float(ranks[name][place]) for name in tried}
        trials = {name: tried[name][key] for name in tried}
        params = next(iter(trials.values())).params
        found.append(Average(params, own, sum(own.values()) / len(own), trials))
    return sorted(found, key=_order)


def _order(one: Average) -> tuple[float, float, float]:
    scores = [row.score or 0.0 for row in one.trials.values()]
    return one.mean_rank, max(one.ranks.values()), -sum(scores)


def _by_configuration(trials: Sequence[TrialRow]) -> dict[str, TrialRow]:
    """Each configuration's trial; one of several seeds stands for all."""
    found: dict[str, TrialRow] = {}
    for row in trials:
        if row.state in _JUDGED:
            found.setdefault(json.dumps(dict(row.params), sort_keys=True, default=str), row)
    return found


def _standing(row: TrialRow) -> float:
    """What ranks are by, lower is better; scores are in [0, 1]."""
    if row.state == "complete" and row.score is not None:
        return -row.score if row.feasible else 2.0
    return 1.0 if row.state == "pruned" else 3.0
