"""Importances of functions whose answer is known."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import f

from ltat_tune.results import importance
from ltat_tune.results.importance import corrected_p, importances, judged

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
    assert first.p == 1 / 2000  # no shuffle is as extreme
    assert first.fanova is not None and first.fanova.share > 0.9
    assert first.fanova.low > 0.8
    noise = next(one for one in others if one.path == NOISE)
    assert noise.fanova is not None and not noise.is_clear
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


# -- the test ------------------------------------------------------------------------------------


def _scored(values: Mapping[str, Sequence[Any]], scores: Sequence[float]) -> Any:
    """Trials with these values; None leaves a parameter out."""
    found = []
    for place, score in enumerate(scores):
        params = {path: column[place] for path, column in values.items()
                  if column[place] is not None}  # fmt: skip
        distributions: dict[str, Any] = {
            path: CategoricalDistribution(["a", "b", "c"]) if isinstance(value, str) else _RANGE
            for path, value in params.items()
        }
        found.append(
            (create_trial(params=params, distributions=distributions, value=score), score)
        )
    return found


def test_p_is_the_share_of_all_orders_that_are_as_extreme() -> None:
    """Three trials of each of two choices: 20 ways to split six ranks, two of them as extreme."""
    scored = _scored({KIND: ["a", "a", "a", "b", "b", "b"]}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    p = corrected_p(scored, [KIND])[KIND]
    assert p == pytest.approx(2 / 20, abs=4 * (0.1 * 0.9 / 2000) ** 0.5)


def test_p_agrees_with_the_exact_p_over_two_parameters() -> None:
    """All 720 orders of six scores; least squares and the F distribution stand beside ours."""
    x, kinds, scores = [0.1, 0.9, 0.3, 0.7, 0.5, 0.2], list("abacab"), [6, 2, 1, 3, 5, 4]

    def most(ranks: Sequence[float]) -> list[float]:
        """-p of each parameter under normal noise."""
        y = np.array(ranks, dtype=float)
        order = np.argsort(np.argsort(x)).astype(float)
        parabola = np.stack([np.ones(6), order, order**2], axis=1)
        groups = np.array([[kind == one for one in "abc"] for kind in kinds], dtype=float)
        found = []
        for design in (parabola, groups):
            fit = design @ np.linalg.lstsq(design, y, rcond=None)[0]
            within, between = ((y - fit) ** 2).sum(), ((fit - y.mean()) ** 2).sum()
            found.append(-float(f.sf((between / 2) / (within / 3), 2, 3)))
        return found

    own = most(scores)
    largest = [max(most(order)) for order in itertools.permutations(range(1, 7))]
    exact = [np.mean([one >= statistic - 1e-9 for one in largest]) for statistic in own]
    ours = corrected_p(_scored({X: x, KIND: kinds}, [one / 10 for one in scores]), [X, KIND])
    assert list(ours.values()) == pytest.approx(exact, abs=4 * (0.25 / 2000) ** 0.5)


def test_a_peak_inside_a_range_is_found() -> None:
    x = [place / 20 for place in range(20)]
    peaked = corrected_p(_scored({X: x}, [-((value - 0.5) ** 2) for value in x]), [X])
    assert peaked[X] == 1 / 2000


def test_a_conditional_parameter_is_judged_by_the_trials_that_have_it() -> None:
    late = [place / 24 if place % 2 else None for place in range(24)]
    scores = [0.1 * (place % 5) if value is None else value for place, value in enumerate(late)]
    p = corrected_p(_scored({X: [0.5] * 24, LATE: late}, scores), [X, LATE])
    assert (p[LATE], p[X]) == (1 / 2000, 1.0)  # a parameter that never changes decides nothing


def test_too_few_trials_with_a_parameter_say_nothing_of_it() -> None:
    late = [0.1, 0.2, 0.3, *[None] * 7]
    p = corrected_p(_scored({LATE: late, X: [0.1 * i for i in range(10)]},
                            [0.3, 0.2, 0.1, *[0.5] * 7]), [LATE, X])  # fmt: skip
    assert p[LATE] == 1.0
    assert p[X] < 0.05


def test_what_moves_with_the_acting_parameter_has_no_credit_of_its_own() -> None:
    """Both fall over the study, as a searcher that learns lets them; only one acts."""
    draw = random.Random(3)
    x = [0.9 * (1 - place / 40) + 0.1 * draw.random() for place in range(40)]
    follower = [0.7 * (1 - place / 40) + 0.3 * draw.random() for place in range(40)]
    scores = [value + 0.05 * draw.gauss(0, 1) for value in x]
    assert corrected_p(_scored({NOISE: follower}, scores), [NOISE])[NOISE] == 1 / 2000
    both = corrected_p(_scored({X: x, NOISE: follower}, scores), [X, NOISE])
    assert both[X] == 1 / 2000
    assert both[NOISE] > 0.05


def test_two_that_act_are_both_clear() -> None:
    draw = random.Random(4)
    x, y, noise = ([draw.random() for _ in range(40)] for _ in range(3))
    scores = [a + b + 0.3 * draw.gauss(0, 1) for a, b in zip(x, y, strict=True)]
    p = corrected_p(_scored({X: x, LATE: y, NOISE: noise}, scores), [X, LATE, NOISE])
    assert max(p[X], p[LATE]) <= 0.01
    assert p[NOISE] > 0.05


def test_one_null_study_in_twenty_has_a_clear_parameter() -> None:
    """300 studies of noise, five parameters each; the 99.9 % range around 5 % is 3 to 29."""
    draw, clear = random.Random(5), 0
    for _ in range(300):
        columns: dict[str, list[Any]] = {f"loss.{name}": [draw.random() for _ in range(15)]
                                         for name in ("tau", "gamma", "scale")}  # fmt: skip
        columns[KIND] = [draw.choice("abc") for _ in range(15)]
        columns[LATE] = [draw.random() if kind == "a" else None for kind in columns[KIND]]
        scored = _scored(columns, [draw.gauss(0, 1) for _ in range(15)])
        paths = [path for path in columns if any(path in row.params for row, _ in scored)]
        clear += min(corrected_p(scored, paths).values()) <= 0.05
    assert 3 <= clear <= 29
