"""`plan` and `--dry-run` as they are typed; neither leaves anything behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltat_tune.cli import main
from tests.drive import write_space


def _typed(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_plan_prints_what_the_study_takes(tmp_path: Path) -> None:
    shown = _typed("plan", write_space(tmp_path))
    for text in ("data.imbalance_ratio = 2", "epochs: about", "at most 96", "time: about",
                 "a rule of thumb", "memory: about", "disk: about"):  # fmt: skip
        assert text in shown, text
    # 20 * 4^(-i / 9), rounded down: 20 + 17 + 14 + 12 + 10 + 9 + 7 + 6 + 5 + 5
    images = "data.imbalance_ratio = 4: 105 training images, imbalance ratio 4, by class: 0 (20), "
    assert images in shown
    assert [path.name for path in tmp_path.iterdir()] == ["mini.yaml"]


@pytest.mark.parametrize("columns", ["80", "60"])
def test_no_column_is_lost_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """A second an epoch stands in the last column."""
    monkeypatch.setenv("COLUMNS", "200")
    wide = _typed("plan", write_space(tmp_path))
    monkeypatch.setenv("COLUMNS", columns)
    narrow = _typed("plan", write_space(tmp_path))
    assert "s/epoch" in narrow
    assert "".join(sorted("".join(wide.split()))) == "".join(sorted("".join(narrow.split())))


def test_plan_as_json_holds_every_number(tmp_path: Path) -> None:
    found = json.loads(
        _typed("plan", write_space(tmp_path), "--trials", "2", "--format", "json",
               "--set", "scheduler.name=none")
    )  # fmt: skip
    # two scenarios, two trials of six epochs, and two seeds of two candidates
    assert found["epochs_at_most"] == 2 * (2 * 6 + 24)
    assert found["gpu_hours"] is None
    assert [s["search_epochs"] for s in found["scenarios"]] == [12, 12]


def test_plan_of_a_gpu_study_needs_no_gpu(tmp_path: Path) -> None:
    path = write_space(tmp_path, resources={"gpus_per_trial": 0.5}, budget="40gpuh")
    shown = _typed("plan", path)
    assert "GPU hours: about" in shown
    assert "budget: 40gpuh; the search ends in time" in shown


def test_plan_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltat_tune.planning.calibration.SECONDS", 0.5)
    shown = _typed("plan", write_space(tmp_path), "--measure")
    assert "measured here" in shown


def test_a_dry_run_prints_the_first_trials_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "studies"
    shown = _typed("--space", write_space(tmp_path), "--dry-run", "--out", out)
    assert "data.imbalance_ratio = 4: the first of 4 trials" in shown
    assert "t0000  loss.name cross_entropy, optim.lr 0.1" in shown
    assert "rungs: judged at epoch 2, of 6 epochs" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["mini.yaml"]
    path = write_space(tmp_path, budget="100epochs")
    found = json.loads(_typed("--space", path, "--dry-run", "--format", "json"))
    assert found["rungs"] == {"prefix": [2], "probe": [], "copy": []}
    assert len(found["trials"]["imbalance_ratio_2"]) == 4


def test_a_dry_run_checks_as_a_start_does(tmp_path: Path) -> None:
    path = write_space(tmp_path, searcher={"trials": 0})
    done = CliRunner().invoke(main, ["--space", str(path), "--dry-run"])
    assert done.exit_code == 2
    assert "searcher.trials" in done.output
    small = CliRunner().invoke(
        main, ["--space", str(write_space(tmp_path)), "--dry-run", "--budget", "10epochs"]
    )
    assert small.exit_code == 2
    assert "--budget must be at least 60epochs" in small.output
