"""What more trials are expected to bring, and that a search ends where it is little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from ltat_tune.search.predict.coordinates import Coordinates
from ltat_tune.search.predict.observed import Observed
from ltat_tune.search.predict.outlook import LEAST, count_contenders, look_ahead
from ltat_tune.search.predict.surrogate import Surrogate
from tests.search.predict.test_coordinates import domains

TUNED = domains({
    "optim.lr": {"type": "float", "low": 0.001, "high": 1.0},
    "optim.weight_decay": {"type": "float", "low": 0.001, "high": 1.0},
})  # fmt: skip


def _trials(count: int, *, noise: float = 0.0, seed: int = 0) -> list[Observed]:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.001, 1.0, (count, 2))
    scores = 0.6 - ((points - 0.6) ** 2).sum(1) + noise * rng.standard_normal(count)
    return [
        Observed({"optim.lr": a, "optim.weight_decay": b}, number, values=(float(score),))
        for number, ((a, b), score) in enumerate(zip(points, scores, strict=True))
    ]


def test_draws_have_the_moments_of_the_prediction() -> None:
    rng = np.random.default_rng(0)
    model = Surrogate(Coordinates(TUNED), 1)
    model.condition(rng.random((5, 2)), np.zeros(5, dtype=np.intp), rng.normal(size=5))
    places = rng.random((3, 2))
    mean, variance, _ = model.predict(places, 0)
    draws = model.draws(places, 200_000, rng)
    assert draws.mean(0) == pytest.approx(mean, abs=0.01)
    assert draws.var(0) == pytest.approx(variance + model.noise[0], rel=0.02)


def test_little_is_expected_once_the_best_is_known_and_more_of_more_trials() -> None:
    gains = [outlook.gain for outlook in look_ahead(TUNED, _trials(LEAST), [1, 5, 20])]
    assert 0 <= gains[0] < gains[1] < gains[2]
    line = {"optim.lr": TUNED["optim.lr"]}  # of which 60 trials leave nothing unknown
    known = [replace(o, params={"optim.lr": o.params["optim.lr"]}) for o in _trials(60)]
    flat = [replace(o, values=(0.6 - (o.params["optim.lr"] - 0.6) ** 2,)) for o in known]
    early, late = (look_ahead(line, some, [5])[0].gain for some in (flat[:LEAST], flat))
    assert late < min(0.002, 0.4 * early)


def test_the_best_of_the_draws_is_what_is_expected_without_a_choice() -> None:
    """With every candidate tried, the gain is the mean of the largest draw."""
    few = domains({"optim.lr": {"type": "categorical", "choices": [0.1, 0.2, 0.3, 0.4]}})
    point: dict[str, Any] = {"optim.lr": 0.1}
    seen = [Observed(point, n, values=(0.3 + 0.01 * (n % 2),)) for n in range(8)]
    three = look_ahead(few, seen, [3, 50])
    assert three[0].gain == three[1].gain > 0  # three configurations are left
    assert (
        look_ahead(
            few,
            [Observed({"optim.lr": x}, values=(0.3,)) for x in few["optim.lr"].choices] * 2,
            [5],
        )[0].gain
        == 0
    )


def test_nothing_is_said_of_few_trials_or_while_none_keeps_its_bounds() -> None:
    trials = _trials(LEAST)
    assert look_ahead(TUNED, trials[1:], [5]) == []
    broken = [Observed(o.params, o.number, values=o.values, slack={"m": -0.1}) for o in trials]
    assert look_ahead(TUNED, broken, [5], bounds=("m",)) == []


def _rows(trials: Sequence[tuple[float, float]]) -> list[FrozenTrial]:
    return [
        create_trial(
            params={"optim.lr": lr}, value=score, user_attrs={"state": "complete"},
            distributions={"optim.lr": FloatDistribution(0.001, 1.0)},
        )
        for score, lr in trials
    ]  # fmt: skip


def test_those_that_another_seed_may_show_to_be_the_best_are_confirmed() -> None:
    """Neighbours with equal scores all contend; one far above the others is alone."""
    line = {"optim.lr": TUNED["optim.lr"]}
    space: Any = SimpleNamespace(
        tuned=line, lent={}, searcher=SimpleNamespace(seed=0),
        confirm=SimpleNamespace(top=4),
    )  # fmt: skip
    lrs = np.linspace(0.05, 0.95, 16)
    luck = 0.02 * np.random.default_rng(0).standard_normal(16)
    level = sorted(zip(0.5 + luck, lrs, strict=True), reverse=True)  # nothing but noise
    clear = sorted(zip(0.6 - 3 * (lrs - 0.35) ** 2, lrs, strict=True), reverse=True)
    assert count_contenders(space, _rows(level), "s") >= 2
    assert count_contenders(space, _rows(clear), "s") == 1
    assert count_contenders(space, _rows(level[:3]), "s") == 3  # too few to say more
