"""Who wins a scenario, and when the sentinel looks at the winner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.task_factory import confirmation_task, sentinel_tasks, test_tasks
from ltat_tune.preflight.load import load_space
from ltat_tune.results.model import standing
from ltat_tune.results.selection import candidates, ranking, winner
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.training_files import (
    BrokenTraining,
    CompleteTraining,
    MaskingReport,
    MeasuredOnTest,
    SecondOpinion,
    write_masking,
    write_test,
    write_training,
)
from ltat_tune.storage.trials import best_of, read_trials
from tests.drive import MINI, write_space

SCENARIO = "imbalance_ratio_2"
METRIC = "val/pgd3_balanced_acc"
TESTED = MeasuredOnTest(
    state="complete", epoch=6, weights="abcd", metrics={},
    per_class={"test/clean": [], "test/pgd3": []}, images={},
)  # fmt: skip
test_tasks.__test__ = False  # type: ignore[attr-defined]  # the planner's own word


class Searched:
    """A study whose two best trials, 0.6 and 0.5 in the search, are both to be confirmed."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        confirm = {**MINI["confirm"], "top": 2, "sentinel": True, **changes.pop("confirm", {})}
        path = write_space(folder, confirm=confirm, **changes)
        self.space: Space = load_space(path, check_machine=False)
        self.folder = StudyFolder(folder / "study")
        self.folder.root.mkdir()
        self.ledger = Ledger(self.folder.ledger, self.space)
        for score in (0.5, 0.6):
            number, _ = self.ledger.propose(SCENARIO)
            self.ledger.finish(SCENARIO, number, Outcome("complete", 6), score)

    def task(self, place: int, seed: int) -> Task:
        """The training of the candidate at this place with this seed."""
        candidate = candidates(self.space, self.ledger, SCENARIO)[place]
        return confirmation_task(
            self.space, self.folder, SCENARIO, candidate, seed, device="cpu"
        )  # fmt: skip

    def train(self, place: int, scores: dict[int, float], *, broken: int = 0) -> None:
        """What trainings by seed leave on disk; of 40 images each, so many are broken."""
        opinion = SecondOpinion(
            attack="pgd3", images=40, broken=broken, by_margin=broken, by_square=0, no_gradient=0,
            flat=0, pull=5.0, passes=1.0, reason="too good to be true" if broken else "",
        )  # fmt: skip
        for seed, score in scores.items():
            done = CompleteTraining(
                state="complete", epoch=6, metrics={METRIC: score}, weights="abcd", per_class={},
                subset_hash="0123", samples_per_class=[1], second_opinion=opinion,
            )  # fmt: skip
            write_training(self.task(place, seed).path, done)

    def winner(self) -> Path | None:
        won = winner(self.space, self.folder, self.ledger, SCENARIO)
        return won.path if won else None

    def sentinels(self) -> list[Task]:
        return sentinel_tasks(self.space, self.folder, self.ledger, SCENARIO, device="cpu")


def test_a_configuration_whose_seeds_all_trained_stands_above_a_luckier_one() -> None:
    assert standing([0.41, 0.40, 0.42]) > standing([0.9])


def test_the_winner_is_the_best_of_the_confirmed_and_not_of_the_searched(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    assert study.winner() is None
    study.train(0, {1: 0.6, 2: 0.3})  # 0.45 on average
    study.train(1, {1: 0.5, 2: 0.5})
    assert study.winner() == study.task(1, 1).path


def test_of_equals_the_one_that_the_search_ranked_higher_wins(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    study.train(0, {1: 0.25, 2: 0.5})
    study.train(1, {1: 0.5, 2: 0.25})
    assert study.winner() == study.task(0, 1).path


def test_a_winner_is_known_by_the_first_seed_that_came_to_its_end(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    write_training(study.task(0, 1).path, BrokenTraining(state="diverged", reason="why"))
    study.train(0, {2: 0.5})
    assert study.winner() == study.task(0, 2).path


def test_the_sentinel_looks_once_at_the_winner_alone_after_its_test(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    study.train(0, {1: 0.6, 2: 0.3})
    study.train(1, {1: 0.5, 2: 0.5})
    assert study.sentinels() == []  # its weights are still to be tested
    left = test_tasks(study.space, study.folder, study.ledger, SCENARIO, device="cpu")
    assert len(left) == 4
    write_test(study.task(0, 1).path, TESTED)
    assert study.sentinels() == []  # another one's were
    best = study.task(1, 1)
    write_test(best.path, TESTED)
    (look,) = study.sentinels()
    assert (look.kind, look.key) == ("sentinel", f"{best.key}/sentinel")
    assert (look.path, look.run_key, look.config) == (best.path, best.run_key, best.config)
    assert look.title == f"{SCENARIO}/t0000 seed 1 sentinel"
    assert Task.from_json(look.to_json()) == look
    seen = MaskingReport(verdict="clear", headline="", images=1, right=1, checks=[])
    write_masking(best.path, seen)
    assert study.sentinels() == []


def _doubt(study: Searched, score: float) -> int:
    number, _ = study.ledger.propose(SCENARIO)
    doubted = Outcome("complete", 6, "too good to be true", {METRIC: score}, claimed={METRIC: 0.9})
    study.ledger.finish(SCENARIO, number, doubted, score)
    return number


def test_a_doubted_trial_has_no_rank_and_is_not_confirmed(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    number = _doubt(study, 0.8)
    assert [row.number for row in ranking(study.ledger, SCENARIO)] == [1, 0]
    assert number not in {c.number for c in candidates(study.space, study.ledger, SCENARIO)}
    (view,) = [row for row in read_trials(study.folder) if row.number == number]
    assert (view.score, view.claimed, view.doubt) == (0.8, 0.9, "too good to be true")
    best = best_of(read_trials(study.folder))
    assert best is not None and best.number == 1


def test_where_every_trial_is_doubted_what_is_left_of_them_ranks(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    ledger = Ledger(tmp_path / "other.journal", study.space)
    for score in (0.2, 0.4):
        number, _ = ledger.propose(SCENARIO)
        ledger.finish(SCENARIO, number, Outcome("complete", 6, "too good to be true"), score)
    assert [row.number for row in ranking(ledger, SCENARIO)] == [1, 0]


def test_a_doubted_confirmation_wins_only_against_doubted_ones(tmp_path: Path) -> None:
    study = Searched(tmp_path)
    study.train(0, {1: 0.9, 2: 0.9}, broken=10)  # three quarters are left, 0.675
    study.train(1, {1: 0.5, 2: 0.5})
    assert study.winner() == study.task(1, 1).path
    study.train(1, {1: 0.8, 2: 0.8}, broken=20)  # half is left, 0.4
    assert study.winner() == study.task(0, 1).path


def test_one_doubted_seed_is_enough(tmp_path: Path) -> None:
    confirm, searcher = {"seeds": [2]}, {"trials": 4, "seeds_per_trial": 2}
    study = Searched(tmp_path, searcher=searcher, confirm=confirm)
    number, _ = study.ledger.propose(SCENARIO)
    first = Outcome("complete", 6, "too good to be true", {METRIC: 0.4}, claimed={METRIC: 0.8})
    seeds = [{METRIC: 0.4}]
    assert study.ledger.note_seeds(SCENARIO, number, seeds, first).reason == first.reason
    again = Ledger(study.folder.ledger, study.space)  # the driver dies between the seeds
    again.take_over(SCENARIO, again.unfinished(SCENARIO)[0])
    second = Outcome("complete", 6, "", {METRIC: 0.9})
    noted = again.note_seeds(SCENARIO, number, [*seeds, {METRIC: 0.9}], second)
    assert noted.reason == "too good to be true"
    again.finish(SCENARIO, number, noted, 0.65)
    assert number not in [row.number for row in ranking(again, SCENARIO)]


@pytest.mark.parametrize(
    "changes",
    [
        {"confirm": {"sentinel": False}},
        {"fixed": {**MINI["fixed"], "evaluation.eps": 0}},
        {"confirm": {"top": 0}},
    ],
)
def test_nobody_looks_unasked_nor_inside_a_radius_of_nothing(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    study = Searched(tmp_path, **changes)
    for place in range(len(candidates(study.space, study.ledger, SCENARIO))):
        study.train(place, {1: 0.5, 2: 0.5})
        write_test(study.task(place, 1).path, TESTED)
    assert study.sentinels() == []
