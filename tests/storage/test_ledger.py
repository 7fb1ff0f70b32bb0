"""The ledger: one row per trial, over restarts and torn files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from ltat_tune.storage.trial_state import state_of
from tests.drive import write_space

SCENARIO = "imbalance_ratio_2"


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_space(write_space(tmp_path), check_machine=False)


def _finish(ledger: Ledger, state: str, value: float | None) -> int:
    number, _ = ledger.propose(SCENARIO)
    outcome = Outcome(state, 6, "" if state == "complete" else "why")  # type: ignore[arg-type]
    ledger.finish(SCENARIO, number, outcome, value)
    return number


def test_start_from_comes_first_and_once_over_restarts(space: Space, tmp_path: Path) -> None:
    for expected in ({"optim.lr": 0.1}, {"optim.lr": 0.2}):
        ledger = Ledger(tmp_path / "ledger.journal", space)
        number, params = ledger.propose(SCENARIO)
        assert params["optim.lr"] == expected["optim.lr"]
        ledger.finish(SCENARIO, number, Outcome("complete", 6), 0.5)
    assert len(Ledger(tmp_path / "ledger.journal", space).finished(SCENARIO)) == 2


def test_a_dead_drivers_row_is_taken_over_with_its_values(space: Space, tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger.journal", space)
    number, params = first.propose(SCENARIO)
    first.record(SCENARIO, number, 2, 0.25)
    second = Ledger(tmp_path / "ledger.journal", space)
    (row,) = second.unfinished(SCENARIO)
    assert second.take_over(SCENARIO, row) == (number, params)
    second.record(SCENARIO, number, 2, 0.25)  # replayed from the checkpoint
    second.record(SCENARIO, number, 4, 0.5)
    second.finish(SCENARIO, number, Outcome("complete", 6), 0.5)
    (done,) = Ledger(tmp_path / "ledger.journal", space).finished(SCENARIO)
    assert dict(done.intermediate_values) == {2: 0.25, 4: 0.5}
    assert done.value == 0.5


def test_only_a_complete_trial_has_a_score(space: Space, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.journal", space)
    states = ["complete", "pruned", "diverged", "failed"]
    for state in states:
        _finish(ledger, state, 0.5)
    rows = ledger.finished(SCENARIO)
    assert [state_of(row) for row in rows] == states
    assert [row.value for row in rows] == [0.5, None, None, None]


@pytest.mark.parametrize("torn", [b"{", b'{"op_code": 5, "tri', b"\x00\xff"])
def test_a_half_written_last_line_is_dropped_and_the_next_start_is_whole(
    space: Space, tmp_path: Path, torn: bytes
) -> None:
    path = tmp_path / "ledger.journal"
    _finish(Ledger(path, space), "complete", 0.5)
    with open(path, "ab") as file:
        file.write(torn)
    _finish(Ledger(path, space), "complete", 0.75)
    values = [row.value for row in Ledger(path, space).finished(SCENARIO)]
    assert values == [0.5, 0.75]
