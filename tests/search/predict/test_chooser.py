"""What the surrogate chooses: made-up scores over every kind of parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ltat_tune.search.predict.chooser import Action, Chooser
from ltat_tune.search.predict.observed import Observed
from ltat_tune.space.domains import Domain
from tests.search.predict.test_coordinates import RAW, domains

Score = Callable[[Mapping[str, Any]], float]


def _chooser(
    *, seed: int = 0, copy_cost: float = 0.0, at_least: tuple[str, ...] = (),
    also: int = 0, trials: int = 1000, startup: int | None = None, even: bool = False,
) -> Chooser:  # fmt: skip
    return chooser_of(
        domains(RAW), seed=seed, copy_cost=copy_cost, at_least=at_least, also=also, trials=trials,
        startup=startup, even=even,
    )  # fmt: skip


def chooser_of(
    tuned: Mapping[str, Domain], *, seed: int = 0, copy_cost: float = 0.0,
    at_least: tuple[str, ...] = (), also: int = 0, trials: int = 1000,
    startup: int | None = None, even: bool = False,
) -> Chooser:  # fmt: skip
    """Return a chooser over these parameters."""
    space: Any = SimpleNamespace(
        tuned=tuned,
        searcher=SimpleNamespace(
            seed=seed, trials=trials, startup_trials=startup, startup="qmc" if even else "random"
        ),
        objective=SimpleNamespace(at_least=at_least, values=("m",) * (1 + also)),
    )
    return Chooser(space, copy_cost=copy_cost)


def _score(params: Mapping[str, Any]) -> float:
    """Best at lr 0.2, warm-up 8 and beta 0.999 with class weights: 1."""
    off: float = math.log10(params["optim.lr"] / 0.2) ** 2
    off += ((params["optim.warmup_epochs"] - 8) / 10) ** 2
    if params["reweight.name"] == "none":
        return 0.8 - off
    return 1.0 - off + 0.1 * math.log10((1 - 0.999) / (1 - params["reweight.beta"]))


class _Study:
    """Runs a chooser; every training ends before the next is chosen, unless slots are more."""

    def __init__(
        self, chooser: Chooser, *, score: Score = _score, copy: Score | None = None
    ) -> None:
        self.chooser, self._score, self._copy = chooser, score, copy or score
        self.seen: list[Observed] = []
        self.actions: list[Action] = []

    def choose(self) -> Action:
        action = self.chooser.next(self.seen, lambda params: False)
        assert action is not None
        self.actions.append(action)
        busy = Observed(
            action.params, len(self.seen) if action.number is None else action.number,
            busy="copy" if action.copy else "whole",
        )  # fmt: skip
        if action.number is None:
            self.seen.append(busy)
        else:
            old = self.seen[action.number]
            self.seen[action.number] = replace(old, busy="whole", waits=False)
        return action

    def end(self, number: int) -> None:
        trial = self.seen[number]
        if trial.busy == "copy":
            copy = self._copy(trial.params)
            self.seen[number] = replace(trial, busy="", copy=copy, waits=True)
        else:
            value = self._score(trial.params)
            bad = math.isnan(value)
            self.seen[number] = replace(
                trial, busy="", values=None if bad else (value,), diverged=bad
            )

    def run(self, wholes: int) -> list[float]:
        while sum(o.values is not None or o.diverged for o in self.seen) < wholes:
            action = self.choose()
            self.end(len(self.seen) - 1 if action.number is None else action.number)
        return [o.values[0] for o in self.seen if o.values is not None]

    @property
    def copies(self) -> int:
        return sum(action.copy for action in self.actions)


def test_it_finds_the_optimum_of_mixed_parameters_in_few_trainings() -> None:
    found = [max(_Study(_chooser(seed=seed)).run(20)) for seed in range(3)]
    rng, pool = np.random.default_rng(0), _chooser()._pool
    chance = np.mean([max(_score(pool.draw(rng)) for _ in range(60)) for _ in range(50)])
    assert np.mean(found) > chance  # random search needs three times as many
    assert min(found) > 0.95


def test_copies_that_tell_more_than_the_hyperparameters_are_bought() -> None:
    rng = np.random.default_rng(0)
    chance: dict[str, float] = {}

    def score(params: Mapping[str, Any]) -> float:  # what no hyperparameter explains
        return _score(params) + chance.setdefault(str(params), float(rng.normal(0, 0.3)))

    study = _Study(_chooser(copy_cost=0.07), score=score)
    study.run(12)
    assert study.copies > 20  # 8 at the start, 6 to learn what they say


def test_copies_that_are_noise_are_not_bought() -> None:
    copies = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        chooser = _chooser(copy_cost=0.07, seed=seed)
        study = _Study(chooser, copy=lambda params, rng=rng: float(rng.random()))  # type: ignore[misc]
        assert max(study.run(20)) > 0.9  # whatever copies say
        copies.append(study.copies)
    assert np.mean(copies) < 18  # 8 at the start, 6 to learn what they say, few by chance


def test_the_start_is_a_few_copies_and_the_best_of_them_train_first() -> None:
    study = _Study(_chooser(copy_cost=0.07))
    for place in range(8):
        assert study.choose().copy
        study.end(place)
    copies = [trial.copy or 0.0 for trial in study.seen]
    assert study.choose() == Action(study.seen[np.argmax(copies)].params, int(np.argmax(copies)))


@pytest.mark.parametrize(
    ("trials", "cost", "copies"), [(40, 0.07, 8), (20, 0.25, 4), (10, 0.25, 2), (5, 0.25, 0)]
)
def test_the_start_spends_little_of_a_short_study(trials: int, cost: float, copies: int) -> None:
    study = _Study(_chooser(copy_cost=cost, trials=trials))
    begun = 0
    while study.choose().copy and begun < 10:
        study.end(begun)
        begun += 1
    assert begun == copies


def test_the_start_may_be_spread_evenly() -> None:
    study = _Study(_chooser(startup=16, even=True))
    points = [study.choose().params for _ in range(16)]
    logs = np.log10([point["optim.lr"] for point in points])
    assert sorted(np.floor(8 * (logs + 2) / 2)) == [k // 2 for k in range(16)]  # two in an eighth
    assert {str(p) for p in points} == {str(o.params) for o in study.seen}


def test_no_copy_begins_that_leaves_no_whole_training() -> None:
    chooser = _chooser(copy_cost=0.07)
    action = chooser.next([], lambda params: False, left=1.05)
    assert action is not None and not action.copy
    action = chooser.next([], lambda params: False, left=1.07)
    assert action is not None and action.copy


def test_a_decision_is_a_function_of_the_trials_alone() -> None:
    study = _Study(_chooser(copy_cost=0.07))
    study.run(6)
    seen = list(study.seen)
    fresh = _chooser(copy_cost=0.07).next(seen, lambda params: False)
    assert study.choose() == fresh


def test_slots_get_different_trainings() -> None:
    study = _Study(_chooser())
    study.run(8)
    points = [study.choose().params for _ in range(4)]
    # neighbours of the best all promise much, but one outcome tells what the next would be
    rates = {round(math.log10(point["optim.lr"]), 2) for point in points}
    assert len(rates) > 1 and len({str(point) for point in points}) == 4


def test_repeats_are_never_chosen() -> None:
    study = _Study(_chooser())
    study.run(6)
    first = study.chooser.next(study.seen, lambda params: False)
    assert first is not None
    second = study.chooser.next(study.seen, lambda params: params == first.params)
    assert second is not None and second.params != first.params
    assert study.chooser.next(study.seen, lambda params: True) is None


def test_where_trials_diverge_no_more_begin() -> None:
    def score(params: Mapping[str, Any]) -> float:
        return math.nan if params["optim.lr"] > 0.2 else _score(params)

    study = _Study(_chooser(), score=score)
    study.run(25)
    late = [action.params["optim.lr"] > 0.25 for action in study.actions[12:]]
    assert np.mean(late) < 0.3
    assert any(trial.diverged for trial in study.seen)


def test_bounds_are_kept() -> None:
    """Clean accuracy falls with the learning rate, and the best score lies where it is too low."""
    study = _Study(_chooser(at_least=("clean",)))

    def slack(trial: Observed) -> float:
        return -math.log10(trial.params["optim.lr"] / 0.08)

    kept = []
    for _ in range(22):
        action = study.choose()
        number = len(study.seen) - 1
        study.end(number)
        study.seen[number] = replace(
            study.seen[number], slack={"clean": slack(study.seen[number])}
        )
        kept.append(slack(study.seen[number]) >= 0)
        assert action.number is None
    assert np.mean(kept[10:]) > 0.6
    best = max(
        o.values[0] for o, keeps in zip(study.seen, kept, strict=True) if keeps and o.values
    )
    assert best > 0.75  # 0.84 is the best that keeps the bound


def test_several_objectives_are_all_pursued() -> None:
    chooser = _chooser(also=1)
    seen: list[Observed] = []
    for number in range(24):
        action = chooser.next(seen, lambda params: False)
        assert action is not None and not action.copy
        low = action.params["optim.lr"]  # the second objective likes small learning rates
        seen.append(
            Observed(action.params, number, values=(_score(action.params), -math.log10(low)))
        )
    firsts, seconds = zip(*[o.values for o in seen if o.values], strict=True)
    assert max(firsts) > 0.9 and max(seconds) > 1.7


def test_scores_of_another_problem_are_the_start() -> None:
    """The other problem is the same but for its level; the first training is already good."""
    other = _Study(_chooser(seed=1))
    other.run(16)
    lent = [replace(o, values=(0.5 * o.values[0] - 0.2,)) for o in other.seen if o.values]
    first = []
    for seed in range(4):
        action = _chooser(seed=seed).next([], lambda params: False, others=[lent])
        assert action is not None and not action.copy
        first.append(_score(action.params))
    chance = [_score(_chooser()._pool.draw(np.random.default_rng(n))) for n in range(200)]
    assert min(first) > np.quantile(chance, 0.95)


def test_another_problem_that_misleads_is_given_up() -> None:
    """Its scores say the opposite; the search still finds the best."""
    other = _Study(_chooser(seed=1), score=lambda params: -_score(params))
    other.run(16)
    lent = [o for o in other.seen if o.values]

    class _Misled(_Study):
        def choose(self) -> Action:
            whole = self.chooser.next
            self.chooser.next = lambda seen, repeats: whole(seen, repeats, others=[lent])  # type: ignore[method-assign, assignment, misc]
            try:
                return super().choose()
            finally:
                self.chooser.next = whole  # type: ignore[method-assign]

    best = [max(_Misled(_chooser(seed=seed)).run(20)) for seed in range(3)]
    assert min(best) > 0.95  # as without the other problem
