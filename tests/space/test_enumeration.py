"""Grids and lists: which configurations they are, in which order, and that a ledger runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.study import StudyRun
from ltat_tune.errors import StudyError
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from tests.spaces import space_of

GRID = """\
name: grid
fixed: {optim.lr_schedule: cosine}
scenarios: {data.imbalance_ratio: [10, 50]}
tuned:
  method.temperature: {type: categorical, choices: [0.07, 0.1], when: {method.name: srat}}
  method.name: {type: categorical, choices: [pgd_at, srat]}
  optim.momentum: {type: float, low: 0.7, high: 0.9, step: 0.1}
searcher: {name: grid}
"""


def _run_all(space: Space, ledger: Ledger, scenario: str) -> list[dict[str, Any]]:
    """Proposes and finishes trials until the space's number is reached; their parameters."""
    proposed = []
    while ledger.begun(scenario) < space.searcher.trials:
        number, params = ledger.propose(scenario)
        ledger.finish(scenario, number, Outcome("complete", 1), 0.5)
        proposed.append(params)
    return proposed


def test_a_grid_is_every_combination_that_the_conditions_allow(tmp_path: Path) -> None:
    """3 momenta with pgd_at, 3 times 2 temperatures with srat; no 0.7999999999999999."""
    space = space_of(tmp_path, GRID)
    assert space.searcher.trials == 9
    assert [tuple(p.values()) for p in space.enumerated] == [
        ("pgd_at", 0.7), ("pgd_at", 0.8), ("pgd_at", 0.9),
        ("srat", 0.7, 0.07), ("srat", 0.7, 0.1),
        ("srat", 0.8, 0.07), ("srat", 0.8, 0.1),
        ("srat", 0.9, 0.07), ("srat", 0.9, 0.1),
    ]  # fmt: skip


def test_whole_numbers_of_a_grid_stay_whole(tmp_path: Path) -> None:
    text = """\
tuned: {attack.steps: {type: int, low: 2, high: 8, step: 3}}
searcher: {name: grid}
"""
    points = space_of(tmp_path, text).enumerated
    assert points == ({"attack.steps": 2}, {"attack.steps": 5}, {"attack.steps": 8})
    assert all(type(point["attack.steps"]) is int for point in points)


def test_the_entries_of_start_from_come_first_in_a_grid_and_once(tmp_path: Path) -> None:
    start = {"method.name": "srat", "optim.momentum": 0.9, "method.temperature": 0.1}
    entry = ", ".join(f"{path}: {value}" for path, value in start.items())
    space = space_of(tmp_path, f"{GRID}start_from: [{{{entry}}}]\n")
    assert space.enumerated[0] == start
    assert len(space.enumerated) == 9


def test_combinations_that_a_list_does_not_run_need_not_be_valid(tmp_path: Path) -> None:
    """taet with ldam is refused, and no entry asks for it."""
    text = """\
tuned:
  method.name: {type: categorical, choices: [pgd_at, taet]}
  loss.name: {type: categorical, choices: [cross_entropy, ldam]}
start_from:
  - {method.name: pgd_at, loss.name: ldam}
  - {method.name: taet, loss.name: cross_entropy}
searcher: {name: list, trials: 2}
"""
    space = space_of(tmp_path, text)
    assert space.contexts() == [dict(point) for point in space.enumerated] == [
        {"method.name": "pgd_at", "loss.name": "ldam"},
        {"method.name": "taet", "loss.name": "cross_entropy"},
    ]  # fmt: skip


def test_set_merges_entries_that_it_makes_alike(tmp_path: Path) -> None:
    from ltat_tune.preflight.load import load_space

    text = """\
tuned:
  method.name: {type: categorical, choices: [pgd_at, srat]}
  optim.lr: {type: categorical, choices: [0.1, 0.2]}
start_from:
  - {method.name: pgd_at, optim.lr: 0.1}
  - {method.name: pgd_at, optim.lr: 0.2}
  - {method.name: srat, optim.lr: 0.1}
searcher: {name: list}
"""
    (tmp_path / "space.yaml").write_text(text)
    space = load_space(tmp_path / "space.yaml", overrides=["optim.lr=0.05"], check_machine=False)
    assert space.enumerated == ({"method.name": "pgd_at"}, {"method.name": "srat"})


def test_a_ledger_runs_a_grid_in_order_in_every_scenario(tmp_path: Path) -> None:
    space = space_of(tmp_path, GRID)
    ledger = Ledger(tmp_path / "ledger.journal", space)
    for scenario in space.scenarios:
        assert _run_all(space, ledger, scenario.name) == [dict(p) for p in space.enumerated]


def test_a_ledger_goes_on_with_a_grid_where_it_was_killed(tmp_path: Path) -> None:
    """While its rows were being made, and while they were being run."""
    space = space_of(tmp_path, GRID)
    path, name = tmp_path / "ledger.journal", space.scenarios[0].name
    Ledger(path, space)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:4]))  # the study and its first rows
    ledger = Ledger(path, space)
    number, params = ledger.propose(name)
    ledger.finish(name, number, Outcome("complete", 1), 0.5)
    assert [params, *_run_all(space, Ledger(path, space), name)] == [
        dict(point) for point in space.enumerated
    ]


def test_more_trials_of_a_grid_are_refused_with_the_reason(tmp_path: Path) -> None:
    text = GRID.replace("[10, 50]", "[2, 5]").replace(
        "fixed: {", "fixed: {data.val_per_class: 9, "
    )
    StudyRun.create(space_of(tmp_path, text), tmp_path, source="grid.yaml")
    with pytest.raises(StudyError) as caught:
        StudyRun.open(tmp_path / "grid", trials=20)
    assert str(caught.value) == (
        "--trials cannot extend grid: its searcher grid runs exactly 9 configurations, which its "
        "space file decides; for more, change the file and start a study of another name"
    )
