"""Mean ranks over scenarios, worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltat_tune.results.cross_scenario import on_average
from ltat_tune.storage.trials import RowState, TrialRow


def _row(scenario: str, number: int, lr: float, score: float | None, state: RowState,
         **more: Any) -> TrialRow:  # fmt: skip
    return TrialRow(scenario, number, state, score, {"optim.lr": lr}, {}, 6, "", None, None,
                    Path(scenario), **more)  # fmt: skip


def test_the_lowest_mean_rank_of_the_shared_configurations_is_first() -> None:
    rows = {
        "a": [_row("a", 0, 0.1, 0.5, "complete"), _row("a", 1, 0.2, 0.6, "complete"),
              _row("a", 2, 0.3, 0.9, "complete"), _row("a", 3, 0.4, None, "pruned")],
        "b": [_row("b", 0, 0.4, 0.8, "complete"), _row("b", 1, 0.2, 0.7, "complete"),
              _row("b", 2, 0.1, 0.1, "complete")],
    }  # fmt: skip
    found = on_average(rows)
    # 0.3 is of a alone; of 0.1, 0.2, 0.4 the ranks are 2, 1, 3 in a and 3, 2, 1 in b
    assert [(one.params["optim.lr"], one.mean_rank) for one in found] == [
        (0.2, 1.5), (0.4, 2.0), (0.1, 2.5),
    ]  # fmt: skip
    assert found[0].ranks == {"a": 1.0, "b": 2.0}
    assert found[1].trials["a"].number == 3


def test_what_ended_badly_comes_last_and_equals_share_their_rank() -> None:
    a = [_row("a", 0, 0.1, 0.2, "complete"), _row("a", 1, 0.2, None, "pruned"),
         _row("a", 2, 0.3, None, "pruned"), _row("a", 3, 0.4, None, "diverged"),
         _row("a", 4, 0.5, 0.9, "complete", violations={"val/clean_acc": 0.1})]  # fmt: skip
    b = [_row("b", r.number, r.params["optim.lr"], 0.5, "complete") for r in a]
    ranks = {one.params["optim.lr"]: one.ranks for one in on_average({"a": a, "b": b})}
    assert {lr: r["a"] for lr, r in ranks.items()} == {
        0.1: 1.0, 0.2: 2.5, 0.3: 2.5, 0.5: 4.0, 0.4: 5.0,
    }  # fmt: skip
    assert {r["b"] for r in ranks.values()} == {3.0}


def test_of_equal_means_the_better_worst_rank_and_then_the_higher_score_is_first() -> None:
    rows = {
        "a": [_row("a", i, lr, s, "complete")
              for i, (lr, s) in enumerate([(0.1, 0.9), (0.2, 0.5), (0.3, 0.1)])],
        "b": [_row("b", i, lr, s, "complete")
              for i, (lr, s) in enumerate([(0.1, 0.1), (0.2, 0.5), (0.3, 0.7)])],
    }  # fmt: skip
    found = on_average(rows)
    assert [one.mean_rank for one in found] == [2.0, 2.0, 2.0]
    assert [one.params["optim.lr"] for one in found] == [0.2, 0.1, 0.3]


@pytest.mark.parametrize("rows", [{}, {"a": [_row("a", 0, 0.1, 0.5, "complete")]}])
def test_one_scenario_has_no_average(rows: dict[str, list[TrialRow]]) -> None:
    assert on_average(rows) == []


def test_failed_and_running_trials_are_not_judged() -> None:
    rows = {"a": [_row("a", 0, 0.1, None, "failed")], "b": [_row("b", 0, 0.1, None, "running")]}
    assert on_average(rows) == []
