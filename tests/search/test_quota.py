"""What each choice of a race is owed, and the published values at which it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltat_tune.errors import SpaceError
from ltat_tune.preflight.load import load_space
from ltat_tune.search.published import nearest, published_start
from ltat_tune.search.quota import Owed, Quota, Racer, deciding
from ltat_tune.space.domains import Domain
from ltat_tune.space.reader import as_begun
from ltat_tune.space.space import Space
from tests.drive import write_space

METHODS = {"type": "categorical", "choices": ["pgd_at", "trades", "srat", "mart"]}
RACE: dict[str, Any] = {
    "method.name": METHODS,
    "optim.lr": {"type": "float", "low": 0.01, "high": 0.05, "log": True},
    "loss.name": {"type": "categorical", "choices": ["cross_entropy", "balanced_softmax"]},
    "method.beta": {
        "type": "float", "low": 0.5, "high": 9.0, "when": {"method.name": ["trades", "mart"]},
    },
    "method.separation_weight": {
        "type": "float", "low": 0.1, "high": 1.0, "when": {"method.name": "srat"},
    },
}  # fmt: skip


def _space(folder: Path, searcher: dict[str, Any] | None = None, **changes: Any) -> Space:
    parts: dict[str, Any] = {"tuned": RACE, "start_from": [], **changes}
    path = write_space(folder, searcher={"trials": 20, **(searcher or {})}, **parts)
    return load_space(path, check_machine=False, allow_inert=True)


def _quota(space: Space) -> Quota:
    return Quota(space, space.scenarios[0])


def _run(quota: Quota, trials: list[Racer]) -> list[Owed]:
    """Everything that is owed, each trained whole with nothing but what it must have."""
    owed, done = [], list(trials)
    while (one := quota.next(done)) is not None:
        owed.append(one)
        done.append(Racer(one.start or one.values))
    return owed


def test_two_of_each_choice_that_decides_what_exists_by_default(tmp_path: Path) -> None:
    space = _space(tmp_path)
    assert deciding(space.tuned) == ["method.name"]
    assert space.searcher.at_least == {"method.name": 2}
    owed = _run(_quota(space), [])
    methods = [one.values["method.name"] for one in owed]
    assert methods == ["pgd_at", "trades", "srat", "mart"] * 2
    assert [one.start is not None for one in owed] == [True] * 4 + [False] * 4
    assert _quota(space).left([]) == 8


def test_a_choice_starts_at_its_published_values(tmp_path: Path) -> None:
    space = _space(tmp_path)
    trades = published_start(space, space.scenarios[0], {"method.name": "trades"})
    # TRADES: beta = 6; lr 0.1 is not in the range, and 0.05 is nearest
    assert trades == {
        "method.name": "trades", "optim.lr": 0.05, "loss.name": "cross_entropy", "method.beta": 6.0
    }  # fmt: skip
    mart = published_start(space, space.scenarios[0], {"method.name": "mart"})
    assert mart["method.beta"] == 5.0
    srat = published_start(space, space.scenarios[0], {"method.name": "srat"})
    assert set(srat) == {"method.name", "optim.lr", "loss.name", "method.separation_weight"}


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        (Domain("optim.lr", "float", 0.01, 0.3, log=True), 0.1, 0.1),
        (Domain("optim.lr", "float", 0.2, 0.3), 0.1, 0.2),
        (Domain("optim.lr", "float", 0.0, 1.0, step=0.25), 0.6, 0.5),
        (Domain("optim.lr", "float", 0.01, 1.0, log=True), None, 0.1),  # the geometric middle
        (Domain("attack.steps", "int", 2, 8), 10, 8),
        (Domain("attack.steps", "int", 1, 9, step=4), 4, 5),
        (Domain("optim.lr", "categorical", choices=(0.01, 0.1, 1.0)), 0.05, 0.1),  # by ratio
        (Domain("loss.name", "categorical", choices=("ldam", "focal")), "cross_entropy", "ldam"),
        (Domain("optim.nesterov", "categorical", choices=(False, True)), True, True),
    ],
)
def test_a_value_moves_to_the_nearest_of_its_domain(
    domain: Domain, value: Any, expected: Any
) -> None:
    assert nearest(domain, value) == pytest.approx(expected)
    assert domain.contains(nearest(domain, value))


def test_what_was_trained_whole_counts_and_what_failed_is_made_up_for(tmp_path: Path) -> None:
    quota = _quota(_space(tmp_path, {"at_least": {"loss.name": 2}}))
    soft, hard = ("loss.name", "balanced_softmax"), ("loss.name", "cross_entropy")
    one = {"loss.name": "balanced_softmax"}
    assert quota.debts([Racer(one)]) == {hard: 2, soft: 1}
    assert quota.debts([Racer(one), Racer(one, "failed")]) == {hard: 2, soft: 1}
    assert quota.debts([Racer(one), Racer(one, "open")]) == {hard: 2, soft: 1}
    assert quota.debts([Racer(one), Racer(one, "stopped")]) == {hard: 2, soft: 1}
    assert quota.debts([Racer(one, "failed")] * 3) == {hard: 2, soft: 1}
    assert quota.debts([Racer(one, "failed")] * 4) == {hard: 2}  # it fails each time
    assert quota.owes(one, [Racer(one)]) and not quota.owes(one, [Racer(one)] * 2)


def test_one_trial_serves_several_races(tmp_path: Path) -> None:
    space = _space(tmp_path, {"at_least": {"method.name": 2, "loss.name": 4}})
    owed = _run(_quota(space), [])
    assert len(owed) == 8
    taken = [dict(one.start or one.values) for one in owed]
    for method in METHODS["choices"]:
        assert sum(one["method.name"] == method for one in taken) == 2
    assert sum(one["loss.name"] == "balanced_softmax" for one in taken) == 4
    starts = [one.start is not None for one in owed]
    assert starts == sorted(starts, reverse=True)  # every choice has its first trial first


def test_a_choice_that_exists_under_another_brings_it_along(tmp_path: Path) -> None:
    tuned = {
        **RACE,
        "reweight.name": {
            "type": "categorical", "choices": ["none", "class_balanced"],
            "when": {"method.name": "srat"},
        },
        "reweight.beta": {
            "type": "float", "low": 0.9, "high": 0.99, "when": {"reweight.name": "class_balanced"},
        },
    }  # fmt: skip
    assert _space(tmp_path, tuned=tuned).searcher.at_least == {"method.name": 2}
    space = _space(tmp_path, {"at_least": {"method.name": 2, "reweight.name": 2}}, tuned=tuned)
    owed = _run(_quota(space), [])
    taken = [one.start or one.values for one in owed]
    for choice in ("none", "class_balanced"):  # SRAT's own is class_balanced
        own = [one for one in taken if one.get("reweight.name") == choice]
        assert [one["method.name"] for one in own] == ["srat", "srat"]
    assert len(owed) == 2 * 3 + 4


def test_a_choice_with_a_single_configuration_is_owed_one(tmp_path: Path) -> None:
    tuned = {"method.name": METHODS, "method.separation_weight": RACE["method.separation_weight"]}
    space = _space(tmp_path, tuned=tuned)
    methods = [one.values["method.name"] for one in _run(_quota(space), [])]
    assert sorted(methods) == ["mart", "pgd_at", "srat", "srat", "trades"]


@pytest.mark.parametrize(
    ("trials", "order"),
    [(8, "SSSS2222"), (10, "SSSS2.2.22"), (20, "SSSS2.2.2.2.........")],
)
def test_ten_trials_over_four_methods_are_no_lottery(
    tmp_path: Path, trials: int, order: str
) -> None:
    """A searcher that is set on PGD-AT (.) waits for each start (S), and for every second (2)."""
    quota, done, seen = _quota(_space(tmp_path)), list[Racer](), ""
    for number in range(trials):
        owed = quota.due(done, trials - number)
        seen += "." if owed is None else "S" if owed.start else "2"
        values = {"method.name": "pgd_at"} if owed is None else owed.start or owed.values
        done.append(Racer(values))
    assert seen == order
    own = [sum(t.params["method.name"] == name for t in done) for name in METHODS["choices"]]
    assert own == [trials - 6, 2, 2, 2]


def test_start_points_count(tmp_path: Path) -> None:
    start = {"method.name": "pgd_at", "loss.name": "balanced_softmax"}
    space = _space(tmp_path, start_from=[start, {**start, "optim.lr": 0.02}])
    owed = _run(_quota(space), [Racer(point) for point in space.start_from])
    assert [one.values["method.name"] for one in owed] == ["trades", "srat", "mart"] * 2


@pytest.mark.parametrize(("trials", "owed", "said"), [(8, 2, ""), (7, 1, "1 trial"), (3, 0, "no")])
def test_too_few_trials_for_the_default_lower_it_and_say_so(
    tmp_path: Path, trials: int, owed: int, said: str
) -> None:
    space = _space(tmp_path, {"trials": trials})
    assert space.searcher.at_least == ({"method.name": owed} if owed else {})
    notes = [note for note in space.notes if note.startswith("the search owes")]
    assert notes == (
        [f"the search owes {said} of each choice of method.name, not 2: that takes 8 trials, and "
         f"searcher.trials is {trials}; raise it for a fair race"] if owed == 1 else
        [f"the search owes {said} trial of any choice of method.name, not 2: that takes 8 trials, "
         f"and searcher.trials is {trials}; raise it for a fair race"] if owed == 0 else []
    )  # fmt: skip


@pytest.mark.parametrize(
    ("searcher", "message"),
    [
        ({"trials": 10, "at_least": {"method.name": 3}},
         "searcher.trials must be at least 12, because searcher.at_least owes each choice of "
         "method.name 3, got 10; raise searcher.trials, or lower searcher.at_least"),
        ({"at_least": {"optim.lr": 2}},
         "searcher.at_least must name tuned parameters with choices, got optim.lr, which is a "
         "range of type float; name one of: loss.name, method.name"),
        ({"at_least": {"attack.bn_mode": 2}},
         "searcher.at_least must name tuned parameters with choices, got attack.bn_mode, which is "
         "not tuned; name one of: loss.name, method.name"),
        ({"at_least": {"method.name": -1}},
         "searcher.at_least must hold numbers of trials from 0 to 100, got method.name: -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_owed_is_refused(
    tmp_path: Path, searcher: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError) as error:
        _space(tmp_path, searcher)
    assert message in str(error.value)


def test_a_budget_that_cannot_pay_for_it_is_told(tmp_path: Path) -> None:
    """Two scenarios of 8 owed trials, 6 epochs each; a winner is confirmed with two seeds."""
    needed = 2 * (8 + 2) * 6
    assert not any("ends the search" in note for note in _space(
        tmp_path, budget=f"{needed}epochs", scheduler={"name": "none"}
    ).notes)  # fmt: skip
    space = _space(tmp_path, budget=f"{needed - 1}epochs", scheduler={"name": "none"})
    assert space.notes[0] == (
        f"budget {needed - 1}epochs ends the search before each choice of method.name has what "
        f"searcher.at_least owes it: that takes {needed}epochs; raise the budget, or lower "
        "searcher.at_least"
    )


def test_a_list_owes_nothing(tmp_path: Path) -> None:
    losses = ("balanced_softmax", "cross_entropy")
    starts = [{"loss.name": loss, "loss.tau": 1.0} for loss in losses[:1]]
    tau = {**RACE["method.beta"], "high": 2.0, "when": {"loss.name": losses[0]}}
    tuned = {"loss.name": RACE["loss.name"], "loss.tau": tau}
    parts = {"tuned": tuned, "start_from": [*starts, {"loss.name": losses[1]}]}
    path = write_space(tmp_path, searcher={"name": "list"}, **parts)
    assert load_space(path, check_machine=False, allow_inert=True).searcher.at_least == {}
    path = write_space(tmp_path, searcher={"name": "list", "at_least": {"loss.name": 1}}, **parts)
    with pytest.raises(SpaceError, match="must be left out with searcher.name list"):
        load_space(path, check_machine=False, allow_inert=True)


def test_an_earlier_study_owes_nothing_and_a_new_one_keeps_what_it_owes(tmp_path: Path) -> None:
    assert as_begun({"searcher": {"name": "predict", "trials": 9}})["searcher"] == {
        "name": "predict", "trials": 9, "at_least": {},
    }  # fmt: skip
    space = _space(tmp_path)
    assert space.record["searcher"]["at_least"] == {"method.name": 2}
    assert as_begun(space.record)["searcher"]["at_least"] == {"method.name": 2}
