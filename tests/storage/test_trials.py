"""Reading a ledger that a driver may be writing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ltat_tune.errors import StudyError
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from ltat_tune.storage.trials import open_studies, read_trials
from tests.made_studies import repeat_first_row
from tests.spaces import space_of

TWO = """\
objective: {metric: val/pgd20_balanced_acc, at_least: {val/clean_acc: 0.9}}
scenarios: {data.imbalance_ratio: [2, 10]}
tuned:
  optim.lr: {type: float, low: 0.01, high: 0.3, log: true}
  loss.name: {type: categorical, choices: [cross_entropy, focal]}
start_from:
  - {optim.lr: 0.1, loss.name: focal}
  - {optim.lr: 0.2, loss.name: focal}
searcher: {name: random, trials: 1000}
"""
SCENARIO = "imbalance_ratio_2"


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


@pytest.fixture
def ledger(folder: StudyFolder, tmp_path: Path) -> Ledger:
    folder.root.mkdir()
    return Ledger(folder.ledger, space_of(tmp_path, TWO))


def _end(
    ledger: Ledger, state: Any, score: float | None = None, reason: str = "", clean: float = 0.95
) -> int:
    number, _ = ledger.propose(SCENARIO)
    ledger.record(SCENARIO, number, 2, 0.25)
    outcome = Outcome(state, 6, reason, {"val/clean_acc": clean})
    ledger.finish(SCENARIO, number, outcome, score)
    return number


def test_a_row_has_what_the_driver_wrote(ledger: Ledger, folder: StudyFolder) -> None:
    _end(ledger, "complete", 0.5, clean=0.8)
    _end(ledger, "failed", reason="Traceback:\nRuntimeError: no room")
    _end(ledger, "pruned", reason="not among the best")
    number, params = ledger.propose(SCENARIO)
    ledger.record(SCENARIO, number, 4, 0.125)
    complete, failed, pruned, running = read_trials(folder)
    assert [row.state for row in (complete, failed, pruned, running)] == [
        "complete", "failed", "pruned", "running",
    ]  # fmt: skip
    assert complete.name == "imbalance_ratio_2/t0000"
    assert complete.folder == folder.root / "trials" / "imbalance_ratio_2" / "t0000"
    assert complete.params == {"optim.lr": 0.1, "loss.name": "focal"}
    assert (complete.score, complete.values, dict(complete.scores)) == (0.5, (0.5,), {2: 0.25})
    assert complete.feasible is False
    assert complete.violations == {"val/clean_acc": pytest.approx(0.1)}
    assert (failed.score, failed.cause, failed.epochs) == (None, "RuntimeError: no room", 6)
    assert failed.reason.startswith("Traceback:")
    assert (pruned.cause, pruned.feasible) == ("not among the best", None)
    assert (running.params, running.epochs, running.seconds) == (params, 4, None)
    assert complete.seconds is not None and 0 <= complete.seconds < 60
    assert complete.ended is not None and complete.ended.tzinfo is not None


def test_repeats_and_queued_points_are_no_trials_and_numbers_have_no_gap(
    ledger: Ledger, folder: StudyFolder
) -> None:
    _end(ledger, "complete", 0.5)
    assert len(read_trials(folder)) == 1  # the second of start_from is queued, and so is no trial
    _end(ledger, "complete", 0.5)
    ledger.enqueue(SCENARIO, {"optim.lr": 0.1, "loss.name": "focal"})
    assert _end(ledger, "pruned") == 2
    assert [row.number for row in read_trials(folder)] == [0, 1, 2]
    study = open_studies(folder)[SCENARIO]
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert [t.number for t in ledger.finished(SCENARIO)] == [0, 1, 2]
    assert study.trials[2].params == ledger.finished(SCENARIO)[2].params


def test_a_study_of_optunas_is_a_copy_that_writes_nothing(
    ledger: Ledger, folder: StudyFolder
) -> None:
    _end(ledger, "complete", 0.5)
    before = folder.ledger.read_bytes()
    verbosity = optuna.logging.get_verbosity()
    studies = open_studies(folder)
    assert list(studies) == ["imbalance_ratio_2", "imbalance_ratio_10"]
    studies[SCENARIO].tell(studies[SCENARIO].ask(), 0.9)
    assert studies[SCENARIO].best_value == 0.9
    assert folder.ledger.read_bytes() == before
    assert optuna.logging.get_verbosity() == verbosity
    assert open_studies(folder)[SCENARIO].best_value == 0.5


@pytest.mark.parametrize("torn", [b"{", b'{"op_code": 5, "tri', b"\x00\xff"])
def test_a_driver_in_the_middle_of_a_line_is_neither_disturbed_nor_waited_for(
    ledger: Ledger, folder: StudyFolder, torn: bytes
) -> None:
    _end(ledger, "complete", 0.5)
    lock = folder.ledger.with_name("ledger.journal.lock")
    lock.symlink_to(folder.ledger)  # as Optuna locks
    with open(folder.ledger, "ab") as file:
        file.write(torn)
    before = folder.ledger.read_bytes()
    (row,) = read_trials(folder)
    (trial,) = open_studies(folder)[SCENARIO].trials
    assert (row.score, trial.state) == (0.5, TrialState.COMPLETE)
    assert lock.is_symlink()
    assert folder.ledger.read_bytes() == before


def test_a_study_without_a_ledger_has_no_trials_and_gets_none(folder: StudyFolder) -> None:
    folder.root.mkdir()
    assert read_trials(folder) == []
    assert open_studies(folder) == {}
    assert not folder.ledger.exists()


def test_a_ledger_that_was_written_over_is_named(ledger: Ledger, folder: StudyFolder) -> None:
    folder.ledger.write_bytes(b"\x00\xff\n" + folder.ledger.read_bytes())
    for read in (read_trials, open_studies):
        with pytest.raises(StudyError, match="journal cannot be read .*doctor .* --mend"):
            read(folder)


def test_a_thousand_trials_are_read_at_once(folder: StudyFolder, tmp_path: Path) -> None:
    folder.root.mkdir()
    space: Space = space_of(tmp_path, TWO)
    _end(Ledger(folder.ledger, space), "complete", 0.5)
    repeat_first_row(folder.ledger, 1000)
    began = time.process_time()
    rows = read_trials(folder)
    assert time.process_time() - began < 2.0  # 0.3 s alone
    assert len(rows) == 1001
