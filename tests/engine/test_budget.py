"""A budget by hand: what may begin, what is left for the confirmations, and a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.budget import BudgetKeeper, Claims
from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.errors import SpaceError
from ltat_tune.planning.looks import LookCost
from ltat_tune.preflight.load import load_space
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.resources import Budget, parse_budget
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.trial_state import state_of
from tests.drive import MINI, write_space

NAME, METRIC = "imbalance_ratio_2", MINI["objective"]["metric"]
ONE = {"data.imbalance_ratio": [2]}
NO_RUNGS = Rungs((), ())


@pytest.mark.parametrize(
    ("written", "budget"),
    [
        ("6h", Budget(6, "h")),
        ("90min", Budget(1.5, "h")),
        ("40gpuh", Budget(40, "gpuh")),
        (" 500 epochs", Budget(500, "epochs")),
        ("0.5h", Budget(0.5, "h")),
    ],
)
def test_a_budget_is_an_amount_and_its_unit(written: str, budget: Budget) -> None:
    assert parse_budget(written) == budget
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize("written", [60, "60", "0h", "-1h", "6 days", None, "epochs"])
def test_anything_else_says_what_to_write(written: Any) -> None:
    with pytest.raises(ValueError, match="such as 6h, 90min, 40gpuh or 500epochs"):
        parse_budget(written)


def _space(folder: Path, budget: str, **changes: Any) -> Space:
    """Trials of six epochs, one confirmation of six more."""
    values = {
        "scenarios": ONE, "start_from": [], "budget": budget,
        "confirm": {**MINI["confirm"], "seeds": [7]}, **changes,
    }  # fmt: skip
    return load_space(write_space(folder, **values), check_machine=False)


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        # a trial of 6 and its confirmation's 6
        ("11epochs", "budget must be at least 12epochs, enough for one trial"),
        ("5gpuh", "budget 5gpuh counts GPU hours, but resources.gpus_per_trial is 0"),
        ("5", "budget must be an amount above 0 and its unit"),
    ],
)
def test_a_budget_that_cannot_hold_is_refused_with_its_line(
    tmp_path: Path, budget: str, problem: str
) -> None:
    with pytest.raises(SpaceError) as refused:
        _space(tmp_path, budget)
    (found,) = refused.value.problems
    assert found.partition(": ")[2].startswith(problem)
    line = int(found.split(":")[1])
    assert (tmp_path / "mini.yaml").read_text().splitlines()[line - 1].startswith("budget:")


def test_a_budget_that_just_holds_one_trial_is_taken(tmp_path: Path) -> None:
    assert _space(tmp_path, "12epochs").budget == Budget(12, "epochs")


class _Driver:
    """Drives one search under a budget; each instance is a new process."""

    def __init__(
        self, folder: Path, budget: str, rungs: Rungs = NO_RUNGS, *, slots: int = 1, **more: Any
    ) -> None:
        self.space = _space(folder, budget, **more)
        self.ledger = Ledger(folder / "ledger.journal", self.space)
        studies = StudyFolder(folder)
        self.keeper = BudgetKeeper(self.space, studies, rungs, slots=slots)
        self.search = ScenarioSearch(
            self.space, studies, self.ledger, NAME, rungs, device="cpu", budget=self.keeper
        )
        self.keeper.watch({NAME: self.search.claims})

    def end(self, task: Task, score: float = 0.5, *, epoch: int = 0, state: str = "complete",
            seconds: float = 0.0) -> None:  # fmt: skip
        """The task trained to an epoch, its last if none is given."""
        task.path.mkdir(parents=True, exist_ok=True)
        for done in range(epoch or task.epochs):
            self.search.absorb(task, done + 1, {METRIC: score})
            self.keeper.on_epoch(task, seconds, replayed=False)
        outcome = Outcome(state, epoch or task.epochs, "", {METRIC: score})  # type: ignore[arg-type]
        self.search.finish(task, outcome)
        self.keeper.on_end(task, outcome)

    def run(self, seconds: float = 0.0) -> int:
        """Trains until nothing more may begin; how many trainings that were."""
        count = 0
        while (task := self.search.next_task()) is not None:
            self.end(task, 0.1 * (count % 7), seconds=seconds)
            count += 1
        return count


def test_the_search_ends_where_the_rest_is_needed_for_confirmations(tmp_path: Path) -> None:
    # 29 epochs less 6 for the confirmation hold three trials of 6, and 5 are left
    driver = _Driver(tmp_path, "29epochs", searcher={"trials": 10})
    assert driver.run() == 3
    assert driver.ledger.is_searched(NAME)
    assert driver.ledger.exhausted(NAME) == (
        "data.imbalance_ratio = 2: the budget of 29epochs ends the search after 3 of 10 trials"
    )
    assert not driver.search.trains


def test_what_a_running_trial_leaves_over_is_waited_for(tmp_path: Path) -> None:
    # 18 for trials: two of them, and a third if one is stopped after its second epoch or before
    driver = _Driver(tmp_path, "24epochs", Rungs((2,), ()), slots=2, searcher={"trials": 10})
    tasks = [driver.search.next_task() for _ in range(3)]
    assert all(task is not None for task in tasks)
    assert driver.search.next_task() is None
    assert driver.search.trains and not driver.ledger.is_searched(NAME)
    first, second, third = [task for task in tasks if task is not None]
    driver.end(first)
    driver.end(second, epoch=2, state="pruned")
    assert driver.search.next_task() is None  # 6 + 2 + 6 trained or training: 4 are left
    driver.end(third, epoch=2, state="pruned")
    assert driver.search.next_task() is not None  # 6 + 2 + 2
    assert not driver.ledger.exhausted(NAME)


def test_a_resume_counts_what_earlier_starts_trained(tmp_path: Path) -> None:
    first = _Driver(tmp_path, "29epochs", searcher={"trials": 10})
    task = first.search.next_task()
    assert task is not None
    first.end(task)
    left = first.search.next_task()  # a dead driver's
    assert left is not None
    again = _Driver(tmp_path, "29epochs", searcher={"trials": 10})
    taken = again.search.next_task()
    assert taken is not None and taken.number == left.number
    again.end(taken)
    assert again.run() == 1
    assert len(again.ledger.finished(NAME)) == 3


def test_more_budget_goes_on_where_less_ended_it(tmp_path: Path) -> None:
    assert _Driver(tmp_path, "18epochs", searcher={"trials": 10}).run() == 2
    assert _Driver(tmp_path, "18epochs", searcher={"trials": 10}).run() == 0
    more = _Driver(tmp_path, "30epochs", searcher={"trials": 10})
    assert not more.ledger.is_searched(NAME)
    assert more.run() == 2
    assert "after 4 of 10 trials" in more.ledger.exhausted(NAME)


def test_copies_leave_enough_for_one_whole_run_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    # 12 are for the first whole run and its confirmation: of 21, four copies of 2 fit
    driver = _Driver(
        tmp_path, "21epochs", Rungs((), (), copies=(2,)), searcher={"trials": 10},
        scheduler={"reduction_factor": 2, "rungs": "copy", "grace_epochs": 2},
    )  # fmt: skip
    kinds = []
    while (task := driver.search.next_task()) is not None:
        kinds.append(task.kind)
        driver.end(task, 0.1 * task.number)
        for loser, outcome in driver.search.losers():
            driver.search.finish(loser, outcome)
    for loser, outcome in driver.search.losers():
        driver.search.finish(loser, outcome)
    assert kinds.count("trial") == 1
    assert kinds.count("copy") == 4
    assert driver.ledger.unfinished(NAME) == []
    ends = [state_of(row) for row in driver.ledger.finished(NAME)]
    assert sorted(ends) == ["complete", "pruned", "pruned", "pruned"]


def test_seeds_of_a_trial_that_began_are_all_trained(tmp_path: Path) -> None:
    # two seeds of 6 a trial, and 6 for the confirmation
    searcher = {"trials": 10, "seeds_per_trial": 2}
    assert _Driver(tmp_path, "30epochs", searcher=searcher).run() == 2 * 2


# -- hours --------------------------------------------------------------------------------------


def test_hours_are_what_an_epoch_took_so_far(tmp_path: Path) -> None:
    # 100 s an epoch: 6 epochs of a trial and 6 of a confirmation are 1,200 s, a test and the rest
    # are next to nothing beside; the clock itself does not move in this test
    driver = _Driver(tmp_path, "1h", searcher={"trials": 10})
    driver.keeper.look_costs = {}
    claims, keeper = driver.search.claims, driver.keeper
    task = driver.search.next_task()  # nothing is known yet
    assert task is not None
    for epoch in range(1, 4):
        driver.search.absorb(task, epoch, {METRIC: 0.5})
        keeper.on_epoch(task, 100, replayed=False)
    assert claims.remaining([6], 6) == [3]
    # three epochs left, a new trial of six beside on the only slot, then the confirmation: 1,500 s
    assert keeper.hours_needed([3, 6], 0) == pytest.approx(1500 / 3600, abs=0.01)
    assert keeper.allows(NAME, 0)
    keeper.on_epoch(task, 900, replayed=False)  # the mean of four epochs is 300 now
    assert not keeper.allows(NAME, 0)
    keeper.slots = 2  # six epochs side by side with three, then six: 3,600 s and the clock
    assert keeper.hours_needed([3, 6], 0) == pytest.approx(1, abs=0.01)


def test_replayed_epochs_take_nothing(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, "1h", searcher={"trials": 10})
    task = driver.search.next_task()
    assert task is not None
    driver.keeper.on_epoch(task, 5000, replayed=True)
    assert driver.keeper.allows(NAME, 0)


def test_hours_are_summed_over_starts(tmp_path: Path) -> None:
    first = _Driver(tmp_path, "1h", searcher={"trials": 10})
    task = first.search.next_task()
    assert task is not None
    first.end(task, seconds=50)
    spent = json.loads((tmp_path / "spent.json").read_text())
    assert (spent["task_seconds"], spent["epoch_s"]) == (300, 50)
    (tmp_path / "spent.json").write_text(json.dumps({**spent, "seconds": 3500}))
    # 100 s are left and a trial with its confirmation takes 600
    assert _Driver(tmp_path, "1h", searcher={"trials": 10}).run() == 0
    (tmp_path / "spent.json").write_text(json.dumps({**spent, "seconds": 2600}))
    assert _Driver(tmp_path, "1.01h", searcher={"trials": 10}).run() >= 1  # and two tests


def test_gpu_hours_are_those_of_the_share(tmp_path: Path) -> None:
    # 60 s an epoch on half a GPU: a trial takes 0.05 GPU hours, and so does the confirmation
    driver = _Driver(
        tmp_path, "0.21gpuh", searcher={"trials": 10}, resources={"gpus_per_trial": 0.5}
    )
    driver.keeper.look_costs = {}
    assert driver.run(seconds=60) == 3  # 3 and the confirmation: 0.2


def test_a_test_is_thought_as_long_as_the_rule_says_until_one_was_seen(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, "1h", searcher={"trials": 10})
    task = driver.search.next_task()
    assert task is not None
    driver.end(task, seconds=2)
    (rule,) = driver.keeper.look_costs.values()
    assert driver.keeper.look_s("test") == pytest.approx(2 * rule.test / rule.epoch)
    looked = Task(**{**vars(task), "kind": "test"})
    driver.keeper.on_end(looked, Outcome("complete", 6, "", {}, 7.5))
    assert driver.keeper.look_s("test") == 7.5
    # two parts of 30 s, each with 2 s of its own, and a test of 1 s that finds their batches
    before = driver.keeper._spent["task_seconds"]
    for number in (1, 2):
        part = Task(**{**vars(task), "kind": "part", "part": number, "parts": 2})
        driver.keeper.on_end(part, Outcome("complete", 0, seconds=32.0))
    driver.keeper.on_end(looked, Outcome("complete", 6, "", {}, 1.0, lent_s=60.0))
    assert driver.keeper.look_s("test") == 61.0
    assert driver.keeper._spent["task_seconds"] - before == 32.0 + 32.0 + 1.0


def test_slots_that_share_a_test_leave_more_of_the_hours_to_the_search(tmp_path: Path) -> None:
    # nothing but one test of an hour is left beside 3 epochs of no time: 10 batches on 5 slots
    driver = _Driver(tmp_path, "2h", searcher={"trials": 10})
    keeper = driver.keeper
    keeper._spent |= {"epoch_s": 1e-9, "test": 3600.0, "sentinel": 1e-9}
    keeper.look_costs = {NAME: LookCost({"aa": 1000.0}, 0.0, 1.0, {"aa": 10})}
    assert keeper._confirmations == 1
    assert keeper.hours_needed([3], 0) == pytest.approx(1.0, abs=0.01)
    keeper.slots = 5
    assert keeper.hours_needed([3], 0) == pytest.approx(0.2, abs=0.01)


def test_claims_are_what_trains_and_what_is_next() -> None:
    live, ready, spent = {3: 1}, [(4, 2)], {1: 8, 3: 2}
    claims = Claims(live, ready, spent, whole=1)
    # copies of 2, then three seeds of 6: t3 trains its first, t4 has two seeds left
    assert claims.committed([2, 18], 6) == 10 + 18 + 12
    claims.heard[3] = 5
    assert claims.remaining([2, 18], 6) == [13, 12]
    assert (claims.reached(-1), claims.reached(0)) == (1, 1)
    live.clear()
    assert claims.reached(0) == 0
    claims.reach(1)
    assert claims.reached(-1) == 1
