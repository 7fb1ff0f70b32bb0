"""The replay reads any recorded table, counts every epoch once, and keeps its slots busy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import bench_search
from scripts.bench_search import Case, Trace, drive
from scripts.curve_tables import Table, inferred, params_of, truth

FIXED = {
    "data.name": "digits", "data.val_per_class": 30, "data.imbalance_ratio": 50,
    "method.name": "srat", "attack.steps": 4, "optim.epochs": 8,
    "evaluation.val_attack": "pgd10",
}  # fmt: skip


def _table(folder: Path, **more: Any) -> Table:
    """A table of 3 learning rates x (none, or one of two betas): the best is the last."""
    rows = []
    for lr in (0.1, 0.2, 0.3):
        for beta in (0.0, 0.9, 0.99):
            late: dict[str, Any] = {"reweight.name": "class_balanced" if beta else "none"}
            late |= {"reweight.beta": beta} if beta else {}
            worth = lr + beta / 10
            curve = [worth * e / 8 for e in range(1, 9)]
            rows.append({"early": {"optim.lr": lr}, "late": late, "curve": curve,
                         "copies": {"2": worth / 4, "4": worth / 2, "2s2": worth / 5},
                         "probes": {}, "truth": [worth, worth + 0.1]})  # fmt: skip
    path = folder / "made_curves.json"
    content = {"epochs": 8, "probe_epochs": 2, "fixed": FIXED, "rows": rows, **more}
    path.write_text(json.dumps(content))
    return Table(path)


def test_domains_and_conditions_are_inferred_from_the_rows_of_old_files(tmp_path: Path) -> None:
    table = _table(tmp_path)
    assert table.tuned == {
        "optim.lr": {"type": "categorical", "choices": [0.1, 0.2, 0.3]},
        "reweight.name": {"type": "categorical", "choices": ["none", "class_balanced"]},
        "reweight.beta": {
            "type": "categorical", "choices": [0.9, 0.99],
            "when": {"reweight.name": ["class_balanced"]},
        },
    }  # fmt: skip
    assert table.name == "made" and len(table) == 9
    row = table.row({"optim.lr": 0.2, "reweight.name": "none", "reweight.beta": 0.9})
    assert params_of(row) == {"optim.lr": 0.2, "reweight.name": "none"}
    assert truth(row) == pytest.approx(0.25)


def test_what_no_row_varies_is_fixed_and_what_no_parent_explains_is_refused() -> None:
    tuned, constant = inferred([{"a": 1, "b": "x", "c": 5}, {"a": 2, "b": "y"}])
    assert set(tuned) == {"a", "b"} and constant == {"c": 5}
    both = [{"a": a, "b": b, **({"c": c} if a == b == 1 else {})}
            for a in (1, 2) for b in (1, 2) for c in (3, 4)]  # fmt: skip
    assert inferred(both)[0]["c"]["when"] == {"a": [1], "b": [1]}
    nested = [{"a": 1}, *({"a": 2, "b": b, **({"c": c} if b == 5 else {})}
              for b in (5, 6) for c in (7, 8))]  # fmt: skip
    assert inferred(nested)[0]["c"]["when"] == {"b": [5]}
    assert inferred(nested)[0]["b"]["when"] == {"a": [2]}
    points = [{"a": 1, "c": 1}, {"a": 1}, {"a": 2, "c": 2}, {"a": 2}]
    with pytest.raises(ValueError, match="c is in some rows"):
        inferred(points)


def test_a_copy_costs_its_share_of_attack_steps(tmp_path: Path) -> None:
    table = _table(tmp_path)
    row = table.row({"optim.lr": 0.2, "reweight.name": "none"})
    assert table.copy(row, 2, None) == (0.05, 1.0)
    score, cost = table.copy(row, 2, 2)
    assert score == pytest.approx(0.04) and cost == 3 / 5  # 2 + 1 of 4 + 1 passes


def test_a_copy_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    table = _table(tmp_path)
    row = table.row({"optim.lr": 0.2, "reweight.name": "none"})
    with pytest.raises(ValueError, match="made has no copies 3; it has 2, 4, 2s2"):
        table.copy(row, 3, None)


def test_slots_share_the_clock_and_epochs_add_up(tmp_path: Path) -> None:
    table = _table(tmp_path)
    ends: list[tuple[str, float]] = []
    lengths = iter([("a", 3), ("b", 1), ("c", 1), ("d", 1)])
    trace = Trace()

    def begin() -> Any:
        name, length = next(lengths, ("", 0))
        return None if not name else train(name, length)

    def train(name: str, length: int) -> Any:
        for _ in range(length):
            yield 1.0
        ends.append((name, trace.epochs))

    drive(Case(table, 0, budget=100.0, slots=2), trace, begin)
    # a trains at times 0-3; beside it b, c and d one after another
    assert ends == [("b", 2.0), ("c", 4.0), ("a", 5.0), ("d", 6.0)]


@pytest.mark.parametrize("slots", [1, 4])
def test_a_search_is_measured_on_a_table(tmp_path: Path, slots: int) -> None:
    table = _table(tmp_path)
    target = bench_search.target_of(table)
    assert target.value == pytest.approx(0.399, abs=0.002)  # 40 draws find the best of nine
    for name in ("Optuna, TPE", "ours/no rungs", "ours/copy"):
        row = bench_search.measured(name, table, target, seeds=range(2), slots=slots)
        assert row["final"] == pytest.approx(0.399)
        assert row["epochs"] <= 40 * 8
        assert bench_search.shown_row(row).startswith(f"| {name} | made | ")


def test_the_summary_counts_never_as_the_whole_budget() -> None:
    never = float("inf")
    rows = [{"ratio": 0.25, "truth_ratio": 0.5}, {"ratio": never, "truth_ratio": 0.75}]
    assert bench_search.shown_summary("x", rows) == (
        "| x | mean, worst | | 0.62, never | 0.62, 0.75 | | |"
    )


def test_recorded_tables_of_the_repository_are_complete_grids() -> None:
    paths = sorted(bench_search.DATA.glob("*_curves.json"))
    assert len(paths) >= 2
    for path in paths:
        table = Table(path)
        rng = np.random.default_rng(0)
        for _ in range(200):
            assert table.draw(rng)["curve"] is not None
