"""Rank the configurations that every scenario of a study tried by their average rank."""

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
        params: the proposed values, by path.
        ranks: scenario -> rank among the configurations that all scenarios tried; 1 is best.
        mean_rank: the mean of these ranks.
        trials: scenario -> the trial.
    """

    params: Mapping[str, Any]
    ranks: Mapping[str, float]
    mean_rank: float
    trials: Mapping[str, TrialRow]


def on_average(rows: Mapping[str, Sequence[TrialRow]]) -> list[Average]:
    """Return the configurations that all scenarios tried, lowest mean rank first.

    With one scenario the list is empty. Ranks follow the search's score. They count only the
    shared configurations, so every scenario has the same weight, however many trials it had.
    Trials trained to their end rank first, then trials stopped early, then trials that missed
    `objective.at_least`, then diverged trials. Ties share their mean rank. Among equal mean
    ranks, the configuration with the better worst rank comes first, then the one with the higher
    mean score.

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
    averages = []
    for place, key in enumerate(shared):
        own = {name: float(ranks[name][place]) for name in tried}
        trials = {name: tried[name][key] for name in tried}
        params = next(iter(trials.values())).params
        averages.append(Average(params, own, sum(own.values()) / len(own), trials))
    return sorted(averages, key=_order)


def _order(one: Average) -> tuple[float, float, float]:
    scores = [row.score or 0.0 for row in one.trials.values()]
    return one.mean_rank, max(one.ranks.values()), -sum(scores)


def _by_configuration(trials: Sequence[TrialRow]) -> dict[str, TrialRow]:
    """Return configuration -> its trial; of repeats with other seeds, the first one stands."""
    by_configuration: dict[str, TrialRow] = {}
    for row in trials:
        if row.state in _JUDGED:
            by_configuration.setdefault(
                json.dumps(dict(row.params), sort_keys=True, default=str), row
            )
    return by_configuration


def _standing(row: TrialRow) -> float:
    """Return the value to rank by, lower is better; scores are in [0, 1]."""
    if row.state == "complete" and row.score is not None:
        return -row.score if row.feasible and not row.doubt else 2.0
    return 1.0 if row.state == "pruned" else 3.0
