"""What is said of studies that will take days, and when."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.planning import duration_warning
from ltat_tune.planning.duration_warning import said_if_too_long, too_long
from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space
from tests.drive import MINI, write_space


def _space(folder: Path, **changes: Any) -> Space:
    return load_space(write_space(folder, **changes), check_machine=False)


def test_a_short_study_needs_no_warning_and_a_long_one_says_what_shortens_it(
    tmp_path: Path,
) -> None:
    assert too_long(_space(tmp_path)) == []
    fixed = {**MINI["fixed"], "model.name": "resnet18", "model.width": 64,
             "model.stem": "conv", "optim.epochs": 300}  # fmt: skip
    first, second = too_long(_space(tmp_path, fixed=fixed, searcher={"trials": 1000}), slots=1)
    assert first.startswith("this study is expected to take about")
    for way in ("--trials 500", "--set optim.epochs=150", "smaller model", "--budget 24h"):
        assert way in second


def test_a_study_under_way_is_told_once_and_one_that_ends_at_once_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(duration_warning, "LONG_HOURS", 0.0)
    with said_if_too_long(_space(tmp_path), 1, said.append):
        pass
    assert said == []
    told = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            told.set()

    monkeypatch.setattr(duration_warning, "_TOLD_AFTER_S", 0.0)
    with said_if_too_long(_space(tmp_path), 0, say):
        assert told.wait(60)
    assert said[0].startswith("note: this study is expected to take about")
    assert said[1].startswith("note: shorter: ")
    assert len(said) == 2


def test_a_study_of_large_networks_says_so_before_it_begins(tmp_path: Path) -> None:
    fixed = {**MINI["fixed"], "model.name": "resnet18", "optim.epochs": 2000}
    fixed = {
        name: value for name, value in fixed.items() if name not in ("model.width", "model.stem")
    }
    said: list[str] = []
    with said_if_too_long(
        _space(tmp_path, fixed=fixed, searcher={"trials": 1000}), 1, said.append
    ):
        assert len(said) == 2
    assert "this study is expected to take about" in said[0]
