"""What a dry run shows is what a study begins with, and nothing stays of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ltat_tune.engine.preview import first_trials
from ltat_tune.preflight.load import load_space
from ltat_tune.storage.ledger import Ledger
from tests.drive import MINI, write_space


def test_the_first_trials_are_the_studys_own(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path, searcher={"trials": 12}), check_machine=False)
    before = set(Path(tempfile.gettempdir()).glob("ltat-plan-*"))
    found = first_trials(space, 5)
    assert set(Path(tempfile.gettempdir()).glob("ltat-plan-*")) == before
    ledger = Ledger(tmp_path / "ledger.journal", space)
    for scenario in space.scenarios:
        proposed = [ledger.propose(scenario.name)[1] for _ in range(5)]
        assert found[scenario.name] == proposed
        assert proposed[:2] == MINI["start_from"]


def test_there_are_no_more_than_the_study_has(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path, searcher={"trials": 3}), check_machine=False)
    assert [len(trials) for trials in first_trials(space, 5).values()] == [3, 3]
    tuned = {"loss.name": {"type": "categorical", "choices": ["cross_entropy", "ldam"]}}
    path = write_space(tmp_path, tuned=tuned, start_from=[], searcher={"trials": 9})
    few = first_trials(load_space(path, check_machine=False), 5)
    assert [len(trials) for trials in few.values()] == [2, 2]
