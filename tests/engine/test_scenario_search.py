"""One scenario's search with a real ledger: stages, promotions, branches; all of it resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.preflight.load import load_space
from ltat_tune.search.rungs import Rungs, place_rungs
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.trial_state import state_of
from tests.drive import MINI, write_space

NAME = "imbalance_ratio_2"
METRIC = MINI["objective"]["metric"]


class _Driver:
    """Drives a search as the queue does, with made-up scores; each instance is a new process."""

    def __init__(self, folder: Path, rungs: Rungs | None = None, **changes: Any) -> None:
        space = load_space(write_space(folder, start_from=[], **changes), check_machine=False)
        self.ledger = Ledger(folder / "ledger.journal", space)
        rungs = place_rungs(space) if rungs is None else rungs
        self.search = ScenarioSearch(
            space, StudyFolder(folder), self.ledger, NAME, rungs, device="cpu"
        )  # fmt: skip
        self.ended: list[tuple[int, str]] = []

    def next(self) -> Task | None:
        return self.search.next_task()

    def end(self, task: Task, score: float | None, state: str = "complete") -> None:
        metrics = None if score is None else {METRIC: score}
        task.path.mkdir(parents=True, exist_ok=True)
        ended = self.search.finish(task, Outcome(state, task.epochs, "", metrics))  # type: ignore[arg-type]
        if ended is not None:
            self.ended.append((ended[0].number, ended[1].state))

    def end_losers(self) -> None:
        for task, outcome in self.search.losers():
            assert self.search.finish(task, outcome) is not None

    def taken(self) -> Task:
        task = self.next()
        assert task is not None
        return task


def _copies(folder: Path, *lengths: int, trials: int, **searcher: Any) -> _Driver:
    return _Driver(
        folder,
        Rungs((), (), copies=lengths),
        searcher={"trials": trials, **searcher},
        scheduler={"reduction_factor": 2},
        confirm={"top": 0},
    )


def test_a_trial_without_copies_is_one_training(tmp_path: Path) -> None:
    driver = _Driver(tmp_path, Rungs((), ()), searcher={"trials": 2})
    for expected in (0, 1):
        task = driver.taken()
        assert (task.kind, task.number, task.key) == ("trial", expected, f"{NAME}/t{expected:04d}")
        driver.end(task, 0.5)
    assert driver.next() is None
    assert driver.ended == [(0, "complete"), (1, "complete")]
    assert not driver.search.trains


def test_the_best_copies_are_promoted_and_the_rest_pruned(tmp_path: Path) -> None:
    driver = _copies(tmp_path, 2, 3, trials=4)
    seen = []
    for score in (0.4, 0.3, 0.2, 0.1):
        task = driver.taken()
        while task.key.endswith("copy-3"):  # promoted before the next is proposed
            seen.append(task.key)
            driver.end(task, 0.5)
            task = driver.taken()
        assert task.kind == "copy"
        assert task.training_config().optim.epochs == 2
        driver.end(task, score)
    driver.end_losers()
    rest = driver.taken()
    seen.append(rest.key)
    driver.end(rest, 0.6)
    # t0000 and t0001 are the best half of four; of two at 3 epochs, one trains to the end
    assert seen == [f"{NAME}/t0000/copy-3", f"{NAME}/t0001/copy-3"]
    whole = driver.taken()
    assert (whole.kind, whole.number) == ("trial", 1)  # 0.6 against 0.5
    driver.end(whole, 0.7)
    driver.end_losers()
    assert driver.next() is None
    rows = {row.number: row for row in driver.ledger.finished(NAME)}
    assert {n: state_of(row) for n, row in rows.items()} == {
        0: "pruned", 1: "complete", 2: "pruned", 3: "pruned",
    }  # fmt: skip
    assert rows[1].value == 0.7
    assert dict(rows[1].intermediate_values) == {2: 0.3, 3: 0.6}
    assert {n: row.user_attrs["epochs"] for n, row in rows.items()} == {0: 5, 1: 11, 2: 2, 3: 2}
    assert {n: row.user_attrs.get("reason") for n, row in rows.items()} == {
        0: "50.0 % in its copy of 3 epochs is rank 2 of 2, below the threshold of 60.0 %",
        1: None,
        2: "20.0 % in its copy of 2 epochs is rank 3 of 4, below the threshold of 30.0 %",
        3: "10.0 % in its copy of 2 epochs is rank 4 of 4, below the threshold of 30.0 %",
    }


def test_a_free_slot_waits_for_no_copy_once_nothing_is_left_to_propose(tmp_path: Path) -> None:
    driver = _copies(tmp_path, 2, trials=3)
    first, second, third = (driver.taken() for _ in range(3))
    driver.end(first, 0.3)
    # one of two would be promoted while trials are proposed; the best half of one is that one
    whole = driver.taken()
    assert (whole.kind, whole.number) == ("trial", 0)
    driver.end(second, 0.4)
    better = driver.taken()
    assert (better.kind, better.number) == ("trial", 1)
    driver.end(third, 0.1)
    assert driver.next() is None
    driver.end(whole, 0.5)
    driver.end(better, 0.6)
    driver.end_losers()
    states = {row.number: state_of(row) for row in driver.ledger.finished(NAME)}
    assert states == {0: "complete", 1: "complete", 2: "pruned"}


def test_a_repeat_that_trains_last_settles_every_level(tmp_path: Path) -> None:
    driver = _copies(tmp_path, 2, trials=2, seeds_per_trial=2)
    for score in (0.4, 0.3):
        driver.end(driver.taken(), score)
    driver.end(driver.taken(), 0.5)
    repeat = driver.taken()
    assert repeat.kind == "repeat"
    assert driver.next() is None
    driver.end_losers()
    driver.end(repeat, 0.5)
    states = {row.number: state_of(row) for row in driver.ledger.finished(NAME)}
    assert states == {0: "complete", 1: "pruned"}


def test_a_new_process_goes_on_where_the_old_one_stopped(tmp_path: Path) -> None:
    def run(folder: Path, die_every: int) -> dict[int, tuple[str, float | None]]:
        folder.mkdir()
        driver, count = _copies(folder, 2, 3, trials=6), 0
        while True:
            driver.end_losers()
            task = driver.next()
            if task is None:
                break
            count += 1
            if die_every and count % die_every == 0:
                driver = _copies(folder, 2, 3, trials=6)  # the task was lost with its driver
                continue
            # a score that depends on the trial and the stage alone
            driver.end(task, (7 * task.number % 6 + task.epochs) / 20)
        return {r.number: (state_of(r), r.value) for r in driver.ledger.finished(NAME)}

    whole = run(tmp_path / "whole", 0)
    assert len(whole) == 6
    assert {state for state, _ in whole.values()} == {"pruned", "complete"}
    for die_every in (2, 3, 5):
        assert run(tmp_path / f"killed{die_every}", die_every) == whole


def test_a_diverging_or_failing_copy_ends_its_trial(tmp_path: Path) -> None:
    driver = _copies(tmp_path, 2, trials=2)
    driver.end(driver.taken(), None, "diverged")
    driver.end(driver.taken(), None, "failed")
    assert driver.ended == [(0, "diverged"), (1, "failed")]
    assert driver.next() is None


def test_the_sampler_learns_from_trials_that_wait(tmp_path: Path) -> None:
    driver = _copies(tmp_path, 2, trials=40, startup_trials=8)
    for _ in range(30):
        task = driver.taken()
        if task.kind == "trial":
            continue  # trains on and on
        rate = task.config["optim.lr"]
        driver.end(task, 1.0 if rate < 0.04 else 0.0)
    rates = [row.params["optim.lr"] for row in driver.ledger.unfinished(NAME)]
    # log-uniform proposals would lie below 0.04 in log(2) / log(20) = 23 % of the cases
    later = rates[12:]
    assert sum(rate < 0.04 for rate in later) / len(later) > 0.5


def test_several_seeds_make_one_score(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "searcher": {"trials": 1, "seeds_per_trial": 3}, "confirm": {"top": 0},
    }  # fmt: skip
    driver = _Driver(tmp_path, Rungs((), ()), **settings)
    keys = []
    for score in (0.2, 0.4):
        task = driver.taken()
        keys.append((task.kind, task.training_config().seeds.seed))
        driver.end(task, score)
    driver = _Driver(tmp_path, Rungs((), ()), **settings)  # killed in between
    task = driver.taken()
    keys.append((task.kind, task.training_config().seeds.seed))
    driver.end(task, 0.9)
    assert keys == [("trial", 0), ("repeat", 1), ("repeat", 2)]
    (row,) = driver.ledger.finished(NAME)
    assert row.value == pytest.approx(0.5)
    assert row.user_attrs["seeds"] == [{METRIC: score} for score in (0.2, 0.4, 0.9)]
    assert row.user_attrs["epochs"] == 18


# -- branches -----------------------------------------------------------------------------------

_LATE = {
    "fixed": {**MINI["fixed"], "reweight.schedule": "deferred", "reweight.start_fraction": 0.5,
              "reweight.name": "class_balanced"},
    "tuned": {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.4, "log": True},
        "reweight.beta": {"type": "float", "low": 0.5, "high": 0.999},
    },
}  # fmt: skip


def test_siblings_share_early_parameters_and_the_stem(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**_LATE, "searcher": {"trials": 7, "branches": 3}}
    driver = _Driver(tmp_path, Rungs((), ()), **settings)
    families: list[tuple[float, str]] = []
    for i in range(7):
        task = driver.taken()
        assert task.stem_epochs == 3  # half of 6
        families.append((task.config["optim.lr"], task.stem))
        driver.search.absorb(task, 1, {})
        driver.search.absorb(task, 3, {})
        if i == 0:  # the same again, as from a checkpoint after a kill
            driver.search.absorb(task, 3, {})
        driver.end(task, 0.1 * i)
    assert [families.count(f) for f in dict.fromkeys(families)] == [3, 3, 1]
    assert len({rate for rate, _ in families}) == len({stem for _, stem in families}) == 3
    betas = [row.params["reweight.beta"] for row in driver.ledger.finished(NAME)]
    assert len(set(betas)) > 1


def test_what_a_stem_gave_does_not_count_as_trained(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**_LATE, "searcher": {"trials": 1, "branches": 2}}
    driver = _Driver(tmp_path, Rungs((), ()), **settings)
    task = driver.taken()
    task.path.mkdir(parents=True)
    (task.path / "stem.json").write_text('{"epochs": 3}')
    driver.end(task, 0.5)
    (row,) = driver.ledger.finished(NAME)
    assert row.user_attrs["epochs"] == 3


def test_nobody_leaves_a_stem_that_nobody_can_share(tmp_path: Path) -> None:
    alone = _Driver(tmp_path, Rungs((), ()), **_LATE, searcher={"trials": 2})
    assert alone.taken().stem == ""  # a learning rate out of a range never comes twice
    tuned = {"reweight.beta": {"type": "categorical", "choices": [0.5, 0.9]}}
    grid = {**_LATE, "tuned": {**tuned, "optim.lr": {"type": "categorical",
                                                              "choices": [0.1, 0.2]}}}  # fmt: skip
    (tmp_path / "grid").mkdir()
    assert (
        _Driver(tmp_path / "grid", Rungs((), ()), **grid, searcher={"name": "grid"}).taken().stem
    )


# -- cheap attacks ------------------------------------------------------------------------------


def _cheap(folder: Path) -> _Driver:
    return _Driver(
        folder,
        Rungs((), (), copies=(2,)),
        searcher={"trials": 60},
        scheduler={"rungs": "copy", "reduction_factor": 2, "fidelity": {"attack.steps": [1]}},
    )


def _run_cheap(driver: _Driver, sign: float) -> list[int]:
    """Steps that the copies trained with; what a copy is worth goes with, or against, the end."""
    steps = []
    for _ in range(60):
        driver.end_losers()
        task = driver.next()
        if task is None:
            break
        rate = task.config["optim.lr"]
        if task.kind == "copy":
            steps.append(task.training_config().attack.steps)
        driver.end(task, rate if task.kind == "trial" else 0.5 + sign * rate)
    return steps


def test_copies_train_with_the_cheap_attack_while_it_ranks_well(tmp_path: Path) -> None:
    assert set(_run_cheap(_cheap(tmp_path), +1)) == {1}


def test_a_cheap_attack_that_misleads_is_given_up_for_good(tmp_path: Path) -> None:
    driver = _cheap(tmp_path)
    steps = _run_cheap(driver, -1)
    assert steps == sorted(steps)
    assert set(steps) == {1, 3}  # MINI's own attack has 3
    (note,) = driver.search.notes
    assert note.startswith("scheduler.fidelity misleads: over 8 trials")
    again = _cheap(tmp_path)
    kinds = [task for task in (again.next() for _ in range(4)) if task and task.kind == "copy"]
    assert all(task.training_config().attack.steps == 3 for task in kinds)
