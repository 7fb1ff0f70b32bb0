"""Counts what the search gave each choice, and says how sure their order is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.data.sources import class_counts
from ltat_tune.errors import LtatError
from ltat_tune.results.model import ConfirmedResult
from ltat_tune.results.race.choice import ChoiceCounts
from ltat_tune.results.race.odds import odds
from ltat_tune.space.objective import group_of
from ltat_tune.space.space import Scenario, Space
from ltat_tune.storage.trial_state import is_feasible, score_of, state_of
from ltat_tune.training.metrics import ClassGroups

RIVALS = ("method.name", "loss.name")  # they are counted, whether or not they are owed trials


def choice_counts(
    space: Space,
    scenario: Scenario,
    rows: Sequence[FrozenTrial],
    confirmed: Sequence[ConfirmedResult],
) -> list[ChoiceCounts]:
    """Return what each choice was tried, those never tried included.

    Args:
        space: the tuned parameters and what they are owed.
        scenario: the scenario.
        rows: its trials that ended.
        confirmed: its confirmations, whose seeds tell how much a score depends on chance.
    """
    owed = space.searcher.at_least or {}
    counts = []
    for path in dict.fromkeys((*RIVALS, *owed)):
        choices = space.tuned[path].choices if path in space.tuned else ()
        own = {choice: [r for r in rows if r.params.get(path) == choice] for choice in choices}
        scores = {str(choice): _scores(tried) for choice, tried in own.items()}
        measured = {choice: values for choice, values in scores.items() if values}
        noise = _noise(space, scenario, measured, confirmed)
        chances = odds(measured, noise) if noise and len(measured) > 1 else {}
        for choice, tried in own.items():
            states = [state_of(row) for row in tried]
            whole = states.count("complete") + states.count("diverged")
            counts.append(ChoiceCounts(
                path=path, choice=str(choice), trials=len(tried),
                complete=states.count("complete"), owed=max(0, owed.get(path, 0) - whole),
                epochs=sum(int(row.user_attrs.get("epochs", 0)) for row in tried),
                best=max(scores[str(choice)], default=None),
                chance=chances.get(str(choice)),
            ))  # fmt: skip
    return counts


def _scores(rows: Sequence[FrozenTrial]) -> list[float]:
    """Return the final scores of the trials that may win."""
    ends = [score_of(row) for row in rows if state_of(row) == "complete" and is_feasible(row)]
    return [score for score in ends if score is not None]


def _noise(
    space: Space,
    scenario: Scenario,
    scores: dict[str, list[float]],
    confirmed: Sequence[ConfirmedResult],
) -> float:
    """Return the standard deviation of a score over seeds and validation images; 0 if unknown."""
    every = [score for own in scores.values() for score in own]
    images = _images(space, scenario)
    if not every or not images:
        return 0.0
    mean = statistics.fmean(every)
    over_images = mean * (1 - mean) / images
    repeats = [one.val.get(space.objective.metric, []) for one in confirmed]
    repeats = [values for values in repeats if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeats)
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in repeats)
    over_seeds = squares / freedom / space.searcher.seeds_per_trial if freedom else 0.0
    return float((over_images + over_seeds) ** 0.5)


def _images(space: Space, scenario: Scenario) -> int:
    """Return how many validation images the objective counts; 0 if that is not known."""
    config = space.config(scenario, {})
    if config.data.val_source != "train":
        return 0
    try:
        counts: Any = class_counts(config)
    except (LtatError, OSError):  # the images are gone
        return 0
    group = group_of(space.objective.metric)
    if group == "worst":
        return config.data.val_per_class
    members = ClassGroups.from_counts(counts).members.get(group, counts)
    return config.data.val_per_class * len(members)
