"""A race between methods under every searcher: what is owed trains whole, resumed or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.preview import first_trials
from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.preflight.load import load_space
from ltat_tune.search.published import published_start
from ltat_tune.search.quota import OWED
from ltat_tune.search.rungs import place_rungs
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.trial_state import state_of
from tests.drive import MINI, write_space

NAME, OTHER = "imbalance_ratio_2", "imbalance_ratio_4"
METRIC = MINI["objective"]["metric"]
METHODS = ("pgd_at", "trades", "srat")
WORTH = {"pgd_at": 0.6, "trades": 0.3, "srat": 0.2}  # a searcher soon leaves out the last two
TUNED: dict[str, Any] = {
    "method.name": {"type": "categorical", "choices": [*METHODS]},
    "optim.lr": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
    "method.beta": {"type": "float", "low": 1.0, "high": 9.0, "when": {"method.name": "trades"}},
    "method.temperature": {
        "type": "float", "low": 0.05, "high": 1.0, "when": {"method.name": "srat"},
    },
}  # fmt: skip


class _Driver:
    """Drives the searches as the queue does, with made-up scores; each one is a new process."""

    def __init__(self, folder: Path, name: str = NAME, **changes: Any) -> None:
        parts: dict[str, Any] = {"tuned": TUNED, "start_from": [], **changes}
        parts["searcher"] = {"trials": 12, **parts.get("searcher", {})}
        parts["fixed"] = {**MINI["fixed"], "optim.epochs": 8, "attack.steps": 4}
        folder.mkdir(exist_ok=True)
        path = write_space(folder, **parts)
        self.space = load_space(path, check_machine=False, allow_inert=True)
        self.name, self.rungs = name, place_rungs(self.space)
        self.ledger = Ledger(folder / "ledger.journal", self.space)
        self.search = ScenarioSearch(
            self.space, StudyFolder(folder), self.ledger, name, self.rungs, device="cpu"
        )
        self.rule = EarlyStopping(METRIC, self.rungs, self.space.scheduler, (name,))
        self.trained: list[int] = []  # numbers, in the order of their whole trainings
        for row in self.ledger.rows(name):
            self.rule.put_back(name, f"{name}/t{row.number:04d}", row.intermediate_values)

    def next(self) -> Task | None:
        task = self.search.next_task()
        for loser, outcome in self.search.losers() if task is None else ():
            self.search.finish(loser, outcome)
        return task

    def train(self, task: Task, state: str = "complete") -> None:
        """Train a task epoch by epoch; a rung may stop it."""
        task.path.mkdir(parents=True, exist_ok=True)
        score = WORTH[task.config["method.name"]] - 0.1 * abs(task.config["optim.lr"] - 0.1)
        if task.kind == "trial":
            self.trained.append(task.number)
            if self.search.is_owed(task.number):
                self.rule.spared.add(task.key)
        measured = {METRIC: score, "val/clean_acc": 0.9}
        for epoch in range(1, task.epochs + 1 if task.kind == "trial" else 0):
            self.search.absorb(task, epoch, measured)
            if not self.rule.goes_on(task.key, self.name, epoch, measured, last_epoch=8):
                why = self.rule.stopped[task.key].sentence
                self.search.finish(task, Outcome("pruned", epoch, why))
                return
        metrics = measured if state == "complete" else None
        self.search.finish(task, Outcome(state, task.epochs, "", metrics))  # type: ignore[arg-type]

    def run(self) -> dict[int, tuple[str, dict[str, Any]]]:
        while (task := self.next()) is not None:
            self.train(task)
        return self.rows()

    def rows(self) -> dict[int, tuple[str, dict[str, Any]]]:
        return {r.number: (state_of(r), r.params) for r in self.ledger.rows(self.name)}

    def whole(self) -> Counter[str]:
        ends = self.rows().values()
        return Counter(p["method.name"] for state, p in ends if state == "complete")


SEARCHERS: dict[str, dict[str, Any]] = {
    "predict": {"searcher": {"name": "predict", "trials": 8}},
    "predict with copies": {"searcher": {"name": "predict", "trials": 14}},
    "tpe, stopped at rungs": {"scheduler": {"rungs": "prefix", "grace_epochs": 1}},
    "tpe after copies": {"scheduler": {"rungs": "copy"}},
    "median": {"scheduler": {"name": "median", "rungs": "prefix", "grace_epochs": 1}},
    "hyperband": {"scheduler": {"name": "hyperband", "rungs": "prefix", "grace_epochs": 1}},
    "gp": {"searcher": {"name": "gp", "trials": 7}, "scheduler": {"name": "none"}},
    "cmaes": {"searcher": {"name": "cmaes"}, "scheduler": {"name": "none"}},
    "random, spread evenly": {"searcher": {"name": "random", "startup": "qmc"}},
    "nsga2": {
        "searcher": {"name": "nsga2"}, "scheduler": {"name": "none"},
        "objective": {**MINI["objective"], "also": ["val/clean_acc"]},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHERS)
def test_each_method_is_trained_whole_and_starts_at_its_published_values(
    tmp_path: Path, name: str
) -> None:
    driver = _Driver(tmp_path, **SEARCHERS[name])
    rows = driver.run()
    assert min(driver.whole()[method] for method in METHODS) >= 2
    owed = [row for row in driver.ledger.rows(NAME) if row.user_attrs.get(OWED)]
    assert len(owed) == 6 and {state_of(row) for row in owed} == {"complete"}
    first: dict[str, Any] = {}
    for number in driver.trained:
        params = rows[number][1]
        first.setdefault(params["method.name"], params)
    for method in METHODS:
        start = published_start(driver.space, driver.space.scenario(NAME), {"method.name": method})
        assert first[method] == start
    if "prefix" in str(SEARCHERS[name]) or "copies" in name:
        assert "pruned" in {state for state, _ in rows.values()}  # the others race as before


@pytest.mark.parametrize("name", ["predict with copies", "tpe after copies", "median"])
def test_a_new_process_proposes_what_the_old_one_would_have(tmp_path: Path, name: str) -> None:
    parts = SEARCHERS[name]
    undisturbed = _Driver(tmp_path / "whole", **parts).run()
    driver = _Driver(tmp_path / "killed", **parts)
    # a sampler of Optuna's draws its own numbers after a resume; what is owed is the same
    counted = len(undisturbed) if name.startswith("predict") else 3
    for _ in range(6):
        task = driver.next()
        assert task is not None
        driver = _Driver(tmp_path / "killed", **parts)  # the driver died while this trained
        again = driver.next()
        assert again is not None and (again.key, again.config) == (task.key, task.config)
        driver.train(again)
    rows = driver.run()
    assert list(rows.values())[:counted] == list(undisturbed.values())[:counted]
    assert min(driver.whole()[method] for method in METHODS) >= 2


def test_a_driver_that_dies_before_it_notes_that_a_trial_is_owed(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, scheduler={"rungs": "copy"})
    driver.ledger.propose(
        NAME, {"method.name": "srat", "optim.lr": 0.1, "method.temperature": 0.1}
    )
    task = _Driver(tmp_path, scheduler={"rungs": "copy"}).next()
    assert task is not None and task.kind == "trial" and task.number == 0


def test_failures_are_made_up_for_and_divergence_counts(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, searcher={"trials": 12, "at_least": {"method.name": 2}})
    for state in ("failed", "diverged", "complete"):  # pgd_at twice, as the first one failed
        task = driver.next()
        assert task is not None
        driver.train(task, state)
    rows = driver.run()
    srat = [state for state, params in rows.values() if params["method.name"] == "srat"]
    trades = [state for state, params in rows.values() if params["method.name"] == "trades"]
    assert driver.whole()["pgd_at"] >= 2
    assert srat.count("complete") + srat.count("diverged") >= 2
    assert trades.count("complete") + trades.count("diverged") >= 2


def test_start_points_come_first_and_count(tmp_path: Path) -> None:
    start = [{"method.name": "srat", "optim.lr": 0.02}, {"method.name": "srat", "optim.lr": 0.2}]
    driver = _Driver(tmp_path, start_from=start, scheduler={"rungs": "copy"})
    methods, kinds = [], []
    for _ in range(6):
        task = driver.next()
        assert task is not None
        methods.append(task.config["method.name"])
        kinds.append(task.kind)
        driver.train(task)
    assert methods[:5] == ["srat", "srat", "pgd_at", "trades", "pgd_at"]
    assert kinds[:5] == ["trial"] * 5  # no copy decides whether they go on


def test_slots_that_are_free_at_once_take_different_choices(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, name=OTHER)
    tasks = [driver.next() for _ in range(6)]
    assert [task.config["method.name"] for task in tasks[:3] if task] == [*METHODS]
    assert len({str(t.config) for t in tasks if t}) == 6


def test_nothing_is_owed_if_the_file_says_so(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, searcher={"at_least": {}})
    driver.run()
    assert not any(row.user_attrs.get(OWED) for row in driver.ledger.rows(NAME))


def test_a_plan_shows_the_race(tmp_path: Path) -> None:
    driver = _Driver(tmp_path)
    shown = first_trials(driver.space, 7)[NAME]
    assert [params["method.name"] for params in shown[:3]] == [*METHODS]
    start = published_start(driver.space, driver.space.scenario(NAME), {"method.name": "srat"})
    assert shown[2] == start
