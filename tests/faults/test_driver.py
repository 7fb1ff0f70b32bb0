"""A driver killed at random moments; `scripts/fault_loop.py` does it twenty times."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import fault_loop
from tests.drive import SLOW

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@SLOW
def test_a_driver_killed_twice_loses_doubles_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--kills", "2", "--trials", "8", "--seed", "3"]
    status = fault_loop.main([*arguments, "--no-undisturbed", "--folder", str(tmp_path)])
    said = capsys.readouterr().out
    assert status == 0, said + (tmp_path / "log.txt").read_text()
    assert said.rstrip().endswith("| 0 | 0 | 0 | 0 | - |")


def test_an_epoch_that_was_trained_again_is_counted() -> None:
    before = [[1, {"train/loss": 0.5}, 1.25], [2, {"train/loss": 0.4}, 1.5]]
    again = [*before[:1], [2, {"train/loss": 0.4}, 1.625], [3, {"train/loss": 0.3}, 1.0]]
    assert fault_loop.recomputed(before, [*before, again[2]]) == 0
    assert fault_loop.recomputed(before, again) == 1


def test_the_small_and_the_large_study_are_what_they_say() -> None:
    for trials in (8, 40):
        space = fault_loop.space_of("grid", "grid", trials)
        sizes = [len(domain["choices"]) for domain in space["tuned"].values()]
        assert sizes[0] * sizes[1] * sizes[2] == trials
