"""A search by the surrogate with a real ledger: stages, trials, start points; all resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.budget import BudgetKeeper
from ltat_tune.engine.preview import first_trials
from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.preflight.load import load_space
from ltat_tune.search.predict.outlook import LEAST
from ltat_tune.search.rungs import copy_cost, place_rungs
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.trial_state import state_of
from tests.drive import MINI, write_space

NAME = "imbalance_ratio_2"
METRIC = MINI["objective"]["metric"]
TUNED = {
    "optim.lr": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "loss.name": {"type": "categorical", "choices": ["cross_entropy", "balanced_softmax"]},
    "loss.tau": {
        "type": "float", "low": 0.5, "high": 2.0, "when": {"loss.name": "balanced_softmax"},
    },
}  # fmt: skip


class _Study:
    """Drives a search as the queue does, with made-up scores; each instance is a new process."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        more: dict[str, Any] = {"start_from": [], "tuned": TUNED, **changes}
        fixed = {**MINI["fixed"], "optim.epochs": 8, "attack.steps": 4, **more.pop("fixed", {})}
        searcher = {"name": "predict", "trials": 6, **more.pop("searcher", {})}
        folder.mkdir(exist_ok=True)
        path = write_space(folder, fixed=fixed, searcher=searcher, **more)
        self.space = load_space(path, check_machine=False)
        self.rungs = place_rungs(self.space)
        self.ledger = Ledger(folder / "ledger.journal", self.space)
        self.search = ScenarioSearch(
            self.space, StudyFolder(folder), self.ledger, NAME, self.rungs, device="cpu"
        )
        self.trained: list[str] = []

    def next(self) -> Task | None:
        task = self.search.next_task()
        for loser, outcome in self.search.losers() if task is None else ():
            self.search.finish(loser, outcome)
        return task

    def end(self, task: Task) -> None:
        task.path.mkdir(parents=True, exist_ok=True)
        metrics = {METRIC: _score(task.config, task.epochs), "val/clean_acc": 0.9}
        self.search.finish(task, Outcome("complete", task.epochs, "", metrics))

    def run(self) -> dict[int, tuple[str, dict[str, Any], float | None]]:
        while (task := self.next()) is not None:
            self.trained.append(task.key.removeprefix(f"{NAME}/"))
            self.end(task)
        return self.rows()

    def rows(self) -> dict[int, tuple[str, dict[str, Any], float | None]]:
        rows = self.ledger.rows(NAME)
        return {r.number: (state_of(r), r.params, r.values and r.values[0]) for r in rows}


def _score(config: Mapping[str, Any], epochs: int) -> float:
    worth = 0.6 - (config["optim.lr"] - 0.3) ** 2 + 0.1 * (config["loss.name"] != "cross_entropy")
    return float(worth - 0.2 * (epochs < 8))


def test_copies_come_first_and_a_trial_counts_what_it_costs(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 40})
    assert study.rungs.copies == (2,)  # a quarter of 8 epochs
    cost = copy_cost(study.space, study.rungs)
    assert cost == pytest.approx(0.25 * 3 / 5)  # 2 of 4 attack steps, and one for the update
    task = study.next()
    assert task is not None and task.kind == "copy" and task.fidelity == {"attack.steps": 2}
    assert study.ledger.left(NAME) == pytest.approx(40 - cost)
    study.trained.append(task.key)
    study.end(task)
    rows = study.run()
    states = [state for state, _, _ in rows.values()]
    copies = sum(key.endswith("copy-2") for key in study.trained)
    wholes = len(study.trained) - copies
    assert 8 <= copies and set(states) == {"complete", "pruned"}
    assert states.count("complete") == wholes
    assert 39 < wholes + cost * copies <= 40
    reasons = {r.user_attrs.get("reason") for r in study.ledger.rows(NAME)} - {None}
    assert reasons == {"others promised more than its copy of 2 epochs"}
    assert max(score or 0.0 for _, _, score in rows.values()) > 0.695


@pytest.mark.parametrize("die_every", [1, 3])
def test_a_new_process_proposes_what_the_old_one_would_have(
    tmp_path: Path, die_every: int
) -> None:
    undisturbed = _Study(tmp_path / "whole", searcher={"trials": 9}).run()
    study, count = _Study(tmp_path / "killed", searcher={"trials": 9}), 0
    while (task := study.next()) is not None:
        count += 1
        if count % die_every == 0:  # the driver dies while this trains; the next one takes it over
            study = _Study(tmp_path / "killed", searcher={"trials": 9})
            again = study.next()
            assert again is not None and again.key == task.key
            task = again
        study.end(task)
    assert study.rows() == undisturbed


def test_a_driver_that_dies_between_queue_and_row_proposes_the_same(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 9})
    first = study.next()
    assert first is not None
    study.end(first)
    study.ledger.enqueue(NAME, {"optim.lr": 0.1, "loss.name": "cross_entropy"}, copy_first=True)
    task = _Study(tmp_path, searcher={"trials": 9}).next()
    assert task is not None and task.kind == "copy" and task.config["optim.lr"] == 0.1


def test_start_points_train_whole_and_first(tmp_path: Path) -> None:
    starts = [{"optim.lr": 0.05, "loss.name": "cross_entropy"}, {"optim.lr": 0.5}]
    study = _Study(tmp_path, start_from=starts)
    tasks = []
    for _ in starts:
        tasks.append(study.next())
        assert tasks[-1] is not None
        study.end(tasks[-1])
    assert [t and (t.kind, t.config["optim.lr"]) for t in tasks] == [
        ("trial", 0.05),
        ("trial", 0.5),
    ]


def test_more_trials_go_on_from_what_is_known(tmp_path: Path) -> None:
    rows = _Study(tmp_path, searcher={"trials": 5}).run()
    more = _Study(tmp_path, searcher={"trials": 9}).run()
    assert {number: more[number] for number in rows} == rows
    whole = [state for state, _, _ in more.values()].count("complete")
    assert whole > [state for state, _, _ in rows.values()].count("complete")


def test_several_slots_train_different_things_and_end_alike(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 10})
    live: list[Task] = []
    seen: set[str] = set()
    while True:
        while len(live) < 3 and (task := study.next()) is not None:
            assert task.key not in seen
            seen.add(task.key)
            live.append(task)
        if not live:
            break
        study.end(live.pop(0))
    assert study.ledger.left(NAME) < 1
    assert not study.search.trains


def test_without_copies_every_trial_is_a_whole_training(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "short": {"fixed": {"optim.epochs": 4}},
        "none": {"scheduler": {"name": "none"}},
    }
    for name, changes in cases.items():
        study = _Study(tmp_path / name, **changes)
        assert study.rungs.copies == ()
        assert [state for state, _, _ in study.run().values()] == ["complete"] * 6


def test_a_space_that_is_used_up_ends_the_search_after_all_are_trained(tmp_path: Path) -> None:
    tuned = {"optim.lr": {"type": "categorical", "choices": [0.05, 0.1, 0.2]}}
    study = _Study(tmp_path, tuned=tuned, searcher={"trials": 20})
    assert [state for state, _, _ in study.run().values()] == ["complete"] * 3
    assert "every configuration has been tried" in study.ledger.exhausted(NAME)


def test_parameters_without_effect_make_no_second_trial(tmp_path: Path) -> None:
    """TAIL's weight of 0 leaves TAIL's set without effect."""
    tuned = {
        "method.tail_weight": {"type": "int", "low": 0, "high": 1},
        "method.tail_set": {"type": "categorical", "choices": ["paper", "released"]},
    }
    fixed = {"optim.epochs": 4, "method.name": "reat", "attack.reweight": "none"}
    study = _Study(tmp_path, tuned=tuned, fixed=fixed, searcher={"trials": 20})
    assert len(study.run()) == 3


def test_seeds_of_a_trial_follow_its_whole_training(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 4, "seeds_per_trial": 2}, confirm={"top": 0})
    rows = study.run()
    complete = [n for n, (state, _, _) in rows.items() if state == "complete"]
    for number in complete:
        name = f"t{number:04d}"
        assert [k for k in study.trained if k in (name, f"{name}/seed-1")] == [
            name,
            f"{name}/seed-1",
        ]


def test_the_preview_shows_what_the_study_begins_with(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 40})
    shown = first_trials(study.space, 4)[NAME]
    begun = []
    for _ in range(4):
        task = study.next()
        assert task is not None
        begun.append(task)
    trained = [
        {p: task.config[p] for p in params} for task, params in zip(begun, shown, strict=True)
    ]
    assert trained == shown


@pytest.mark.parametrize("epochs", [41, 70, 120])
def test_a_budget_in_epochs_ends_the_search_and_what_waits(tmp_path: Path, epochs: int) -> None:
    study = _Study(
        tmp_path, searcher={"trials": 100}, budget=f"{epochs}epochs",
        scenarios={"data.imbalance_ratio": [2]}, confirm={"top": 1, "seeds": [5]},
    )  # fmt: skip
    keeper = BudgetKeeper(study.space, StudyFolder(tmp_path), study.rungs, slots=1)
    study.search = ScenarioSearch(
        study.space, StudyFolder(tmp_path), study.ledger, NAME, study.rungs, device="cpu",
        budget=keeper,
    )  # fmt: skip
    keeper.watch({NAME: study.search.claims})
    states = [state for state, _, _ in study.run().values()]
    spent = sum(2 if key.endswith("copy-2") else 8 for key in study.trained)
    # one confirmation of 8 epochs is kept back, and less than a whole training is left over
    assert epochs - 8 - 8 < spent <= epochs - 8
    assert set(states) <= {"complete", "pruned"} and "complete" in states
    assert f"the budget of {epochs}epochs ends the search" in study.ledger.exhausted(NAME)


@pytest.mark.parametrize("name", ["predict", "tpe"])
def test_a_search_ends_where_the_rest_promises_little(tmp_path: Path, name: str) -> None:
    plain = {"scheduler": {"name": "none"}}
    stop = {"name": name, "trials": 30, "stop": {"gain_below": 99}}
    study = _Study(tmp_path, searcher=stop, **plain)
    rows = study.run()
    assert len(rows) == LEAST  # as soon as anything is expected at all
    why = study.ledger.exhausted(NAME)
    assert f"the search ends with {30 - LEAST} of 30 trials left; {30 - LEAST} more trials" in why
    assert why.endswith("to the best score, and searcher.stop asks for 99")
    assert _Study(tmp_path, searcher=stop, **plain).next() is None  # a resume finds it ended
    stop["stop"] = {"gain_below": 0.0001}  # a resume may change it
    more = _Study(tmp_path, searcher=stop, **plain)
    assert more.next() is not None and more.ledger.exhausted(NAME) == ""


def test_a_search_without_stop_trains_all_its_trials(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 9}, scheduler={"name": "none"})
    assert len(study.run()) == 9
    outlook = study.search.watch.outlook()
    assert outlook is None  # none are left


def test_the_outlook_is_told_now_and_then_while_the_search_goes_on(tmp_path: Path) -> None:
    study = _Study(tmp_path, searcher={"trials": 12}, scheduler={"name": "none"})
    told = []
    while (task := study.next()) is not None:
        study.end(task)
        outlook = study.search.watch.news()
        told.append(None if outlook is None else outlook.trials)
    assert told == [None] * 9 + [2, None, None]  # after 5 trials it is unknown
