"""Studies that fail, diverge, or cannot begin, through the command line, with real MLflow.

How a training fails in a worker of Ray: test_workers.py."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.drive import call, mlflow_runs, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_failing_trials_are_recorded_and_three_in_a_row_stop_the_study(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 2)):
        for label, name in enumerate(("a", "b")):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("L", (9, 9), 100 * label + i).save(folder / f"{i}.png")
    fixed = {
        "data.name": "image_folder", "data.root": "images", "data.val_per_class": 2,
        "model.stem": "space_to_depth", "optim.epochs": 2, "evaluation.val_attack": "pgd3",
        "attack.steps": 1, "data.imbalance_ratio": 2,
    }  # fmt: skip
    space = write_space(tmp_path, fixed=fixed, scenarios={}, scheduler={"name": "none"})
    done = call("--space", space, "--in-process", cwd=tmp_path)
    assert done.returncode == 1
    assert "3 tasks in a row failed: ltat_tune.errors.ConfigError" in done.stderr
    assert "images whose sides are even, got 9x9" in done.stderr
    failed = [r for r in mlflow_runs(tmp_path / "studies" / "mini") if r.info.status == "FAILED"]
    assert len(failed) >= 3
    assert all(r.data.tags["state"] == "failed" for r in failed)


def test_a_diverging_trial_has_a_reason_and_no_score(tmp_path: Path) -> None:
    tuned = {"optim.lr": {"type": "categorical", "choices": [0.1, 100.0]}}
    starts = [{"optim.lr": 0.1}, {"optim.lr": 100.0}]
    fixed = {
        "data.val_per_class": 10, "data.max_per_class": 20, "model.width": 4, "optim.epochs": 3,
        "optim.weight_decay": 10, "optim.batch_size": 16, "attack.steps": 1,
        "evaluation.val_attack": "pgd3", "data.imbalance_ratio": 2,
    }  # fmt: skip
    space = write_space(
        tmp_path, tuned=tuned, start_from=starts, fixed=fixed, scenarios={},
        searcher={"trials": 2}, scheduler={"name": "none"}, confirm={"top": 0},
    )  # fmt: skip
    done = call("--space", space, "--in-process", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scenario = json.loads(done.stdout)["scenarios"][0]
    assert scenario["trials"] == {"complete": 1, "pruned": 0, "failed": 0, "diverged": 1}
    assert [trial["number"] for trial in scenario["best_trials"]] == [0]
    runs = {r.data.tags["ltat.key"]: r for r in mlflow_runs(tmp_path / "studies" / "mini")}
    diverged = runs["default/t0001"]
    assert diverged.info.status == "FAILED"
    assert "became non-finite in epoch" in diverged.data.tags["reason"]
    assert "val/pgd3_balanced_acc" not in diverged.data.metrics


def test_bad_input_starts_nothing(tmp_path: Path) -> None:
    space = write_space(tmp_path, objective={"metric": "test/pgd3_acc"})
    began = time.monotonic()
    done = call("--space", space, cwd=tmp_path)
    assert time.monotonic() - began < 20
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "mini.yaml" in done.stderr and "write val/pgd3_acc" in done.stderr
    assert not (tmp_path / "studies").exists()


def test_an_unwritable_folder_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = call("--space", write_space(tmp_path), "--out", "file/studies", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot write the study into file/studies/mini" in done.stderr
    assert "--out" in done.stderr


def test_an_unreachable_tracking_server_is_said_without_its_password(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@localhost:1/none"
    done = call("--space", write_space(tmp_path), "--tracking-uri", uri, cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot use the MLflow store postgresql://localhost:1/none" in done.stderr
    assert "secret" not in done.stderr
