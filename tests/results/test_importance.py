"""Importances of functions whose answer is known."""

from __future__ import annotations

import random
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ltat_tune.results import importance
from ltat_tune.results.importance import importances, judged

X, NOISE, KIND, LATE = "optim.lr", "optim.weight_decay", "method.name", "method.temperature"
_RANGE = FloatDistribution(0.0, 1.0)


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "FANOVA_DRAWS", 8)


def _trials(count: int, *, rung: int | None = None, complete: int | None = None,
            seed: int = 0) -> list[FrozenTrial]:  # fmt: skip
    """Scored by x alone; half of them have a third, conditional parameter."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        params: dict[str, Any] = {
            X: draw.random(),
            NOISE: draw.random(),
            KIND: draw.choice(["srat", "pgd_at"]),
        }
        distributions: dict[str, Any] = {X: _RANGE, NOISE: _RANGE,
                         KIND: CategoricalDistribution(["srat", "pgd_at"])}  # fmt: skip
        if params[KIND] == "srat":
            params[LATE], distributions[LATE] = draw.random(), _RANGE
        ended = complete is None or number < complete
        found.append(create_trial(
            params=params, distributions=distributions,
            state=TrialState.COMPLETE if ended else TrialState.PRUNED,
            value=params[X] if ended else None,
            intermediate_values={} if rung is None else {rung: params[X] / 2},
        ))  # fmt: skip
    return found


def test_what_decides_the_score_is_clear_and_what_does_not_is_not() -> None:
    found = importances(_trials(40))
    assert (found.trials, found.epochs, found.why_not) == (40, None, "")
    first, *others = found.values
    assert first.path == X
    assert first.is_clear
    assert first.fanova is not None and first.fanova.share > 0.9
    assert first.fanova.low > 0.8
    noise = next(one for one in others if one.path == NOISE)
    assert noise.fanova is not None and not noise.fanova.is_clear
    assert noise.fanova.share < 0.1


def test_shares_are_shares_and_lie_in_their_intervals() -> None:
    found = importances(_trials(30)).values
    assert sum(one.ped_anova.share for one in found) == pytest.approx(1)
    assert sum(one.fanova.share for one in found if one.fanova) == pytest.approx(1)
    for one in found:
        for estimate in (one.fanova, one.ped_anova):
            if estimate is not None:
                assert 0 <= estimate.low <= estimate.high <= 1


def test_a_conditional_parameter_has_no_share_by_fanova() -> None:
    trials = _trials(30)
    late = next(one for one in importances(trials).values if one.path == LATE)
    assert late.fanova is None
    assert late.active == sum(LATE in trial.params for trial in trials)


def test_the_rung_that_most_trials_reached_stands_in_for_too_few_ends() -> None:
    trials = _trials(20, rung=6, complete=4)
    epochs, scored = judged(trials)
    assert (epochs, len(scored)) == (6, 20)
    assert scored[0][1] == trials[0].params[X] / 2
    assert judged(_trials(20, rung=6, complete=12))[0] is None


def test_it_says_why_it_says_nothing() -> None:
    assert importances(_trials(5)).why_not == ("5 trials have a score, and at least 6 are needed")
    same = [
        create_trial(params={X: x / 10}, distributions={X: _RANGE}, value=0.5) for x in range(8)
    ]
    assert importances(same).why_not == "all trials have the same score"


def test_the_same_trials_give_the_same_numbers() -> None:
    assert importances(_trials(12)) == importances(_trials(12))
