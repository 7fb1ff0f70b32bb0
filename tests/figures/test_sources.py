"""What is read of a study folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ltat_tune.errors import MissingData, StudyError
from ltat_tune.figures.sources import Recipe, read_sources
from ltat_tune.storage.trained_run import read_run
from tests.figures.reat_studies import trained_once


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_once(tmp_path_factory)


def test_confirmations_stand_in_for_their_trials(study: Path) -> None:
    sources = read_sources([study])
    assert sorted(run.kind for run in sources.runs) == ["confirmation"] * 10 + ["trial"] * 5
    assert len(sources.recipes) == 5
    for recipe in sources.recipes:
        assert [run.seed for run in recipe.runs] == [0, 1]
        assert all(run.kind == "confirmation" for run in recipe.runs)


def test_a_run_holds_what_its_files_hold(study: Path) -> None:
    path = next(study.glob("confirmations/profile_balanced/*-seed1"))
    run = read_run(path)
    assert run is not None
    kept, test = (json.loads((path / name).read_text()) for name in ("result.json", "test.json"))
    assert (run.study, run.scenario, run.seed) == ("rivals", "profile_balanced", 1)
    assert run.predicted == kept["predicted"]
    assert run.samples_per_class == kept["samples_per_class"]
    assert run.recall("pgd2", "test") == test["per_class"]["test/pgd2"]
    assert run.metric("pgd2_tail_acc", "test") == test["metrics"]["test/pgd2_tail_acc"]
    assert [past.epoch for past in run.history] == [1, 2, 3]
    assert run.class_names == [str(digit) for digit in range(10)]


def test_what_was_not_measured_is_missing(study: Path) -> None:
    run = read_run(next(study.glob("trials/profile_balanced/*")))
    assert run is not None
    with pytest.raises(MissingData, match="^aa of rivals/profile_balanced/t0000 on the val"):
        run.recall("aa", "val")
    with pytest.raises(MissingData, match="^pgd2_acc of .* on the test images$"):
        run.metric("pgd2_acc", "test")


def test_spread_is_the_sample_standard_deviation_over_seeds(study: Path) -> None:
    recipe = read_sources([study]).recipes[0]
    # 0 and 1: mean 1/2, variance ((1/2)^2 + (1/2)^2) / (2 - 1)
    assert recipe.over_seeds(lambda run: float(run.seed)) == pytest.approx((0.5, 0.5**0.5))
    assert Recipe(recipe.runs[:1]).over_seeds(lambda run: 3.0) == (3.0, 0.0)


def test_a_training_that_did_not_end_is_no_run(study: Path, tmp_path: Path) -> None:
    whole = next(study.glob("trials/profile_balanced/*"))
    shutil.copytree(whole, tmp_path / "t0")
    assert read_run(tmp_path / "t0") is not None
    (tmp_path / "t0" / "result.json").unlink()
    assert read_run(tmp_path / "t0") is None
    with pytest.raises(StudyError, match="is not finished: it has no result.json"):
        read_sources([tmp_path / "t0"])


def test_without_checkpoint_the_history_is_missing(study: Path, tmp_path: Path) -> None:
    shutil.copytree(next(study.glob("trials/profile_balanced/*")), tmp_path / "t0")
    (tmp_path / "t0" / "checkpoint.pt").unlink()
    run = read_run(tmp_path / "t0")
    assert run is not None
    with pytest.raises(MissingData, match=r"t0 has no checkpoint.pt"):
        _ = run.history
