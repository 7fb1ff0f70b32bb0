"""`ltat-tune compare STUDY --checkpoint`: other checkpoints beside a study's winner."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.results.model import read_results
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_test
from tests.drive import call

_NETWORK = "torchvision/shufflenet_v2_x0_5"
_METRIC = "test/pgd3_balanced_acc"


@pytest.fixture
def folder(small_study: Path, tmp_path: Path) -> Path:
    """A folder with `studies/mini`, a checkpoint of another script, and one of the winner's."""
    shutil.copytree(small_study.parent, tmp_path / "studies")
    torch.manual_seed(0)
    network = import_torchvision("models").get_model("shufflenet_v2_x0_5", num_classes=10)
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    return tmp_path


def _blocks(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = call("compare", "mini", *arguments, "--format", "json", cwd=folder)
    assert done.returncode == 0, done.stderr
    blocks: list[dict[str, Any]] = json.loads(done.stdout)
    return blocks


def test_a_checkpoint_of_the_study_has_the_studys_numbers_and_a_paired_interval(
    folder: Path,
) -> None:
    study = StudyFolder(folder / "studies" / "mini")
    results = read_results(study)
    assert results is not None
    scenario = results.scenarios[0]
    assert scenario.winner is not None
    place = study.confirmation(scenario.name, scenario.winner.recipe, 1)
    first, other = _blocks(folder, "--checkpoint", str(place / "checkpoint.pt"))
    tested = read_test(place)
    assert tested is not None
    (row,) = first["checkpoints"]
    assert set(row["scores"]) == {_METRIC, "test/clean_balanced_acc"}
    assert row["scores"].items() <= tested.metrics.items()
    winner = first["winner"]["scores"][_METRIC]
    assert winner == scenario.winner.test[_METRIC]
    ahead = row["winner_ahead"]
    # one of the two differences is 0, the other that of the two seeds
    assert ahead["gain"] == pytest.approx(statistics.fmean(winner) - tested.metrics[_METRIC])
    assert ahead["low"] < ahead["gain"] < ahead["high"]
    assert (
        other["checkpoints"][0]["scores"]["test/clean_balanced_acc"]
        == (
            row["scores"]["test/clean_balanced_acc"]  # the scenarios have the same test images
        )
    )


def test_another_scripts_checkpoint_has_the_numbers_of_evaluate_and_is_measured_once(
    folder: Path,
) -> None:
    named = ("--checkpoint", "theirs.pt", "--model", _NETWORK, "--mean", "0.4", "--std", "0.3")
    block = _blocks(folder, *named)[0]
    kept = sorted((folder / "evaluations" / "beside").glob("*/test.json"))
    times = [path.stat().st_mtime_ns for path in kept]
    assert _blocks(folder, *named)[0] == block
    assert [path.stat().st_mtime_ns for path in kept] == times
    configs = sorted((folder / "evaluations").glob("foreign-*.yaml"))
    cards = [
        json.loads(
            call("evaluate", "theirs.pt", "--config", config, "--attacks", "clean,pgd3",
                 "--no-sentinel", "--format", "json", "--quiet", cwd=folder).stdout
        )
        for config in configs
    ]  # fmt: skip
    for card in cards:  # one for each scenario's training images
        clean, pgd = (row["numbers"]["balanced_acc"] for row in card["rows"])
        assert block["checkpoints"][0]["scores"] == {
            "test/clean_balanced_acc": clean, _METRIC: pgd,
        }  # fmt: skip
    words = call("compare", "mini", *named, cwd=folder).stdout
    assert "winner ahead" in words and "theirs.pt" in words
    assert "what it was trained on, and what chose it, is not known" in " ".join(words.split())


def test_what_cannot_be_put_beside_a_winner_is_refused(folder: Path) -> None:
    unnamed = call("compare", "mini", "--checkpoint", "theirs.pt", cwd=folder).stderr
    assert "theirs.pt is of another script, so its network must be named: add --model" in unnamed
    other = call("compare", "mini", "--checkpoint", "theirs.pt", "--model", "resnet18", cwd=folder)
    assert "must hold the network resnet18 with 10 classes" in other.stderr
    metric = ("--metric", "val/pgd3_acc", "--model", _NETWORK)
    untested = call("compare", "mini", "--checkpoint", "theirs.pt", *metric, cwd=folder).stderr
    assert "--metric val/pgd3_acc was not measured on the test images; choose from" in untested
    both = call("compare", "mini", "--checkpoint", "theirs.pt", "--by", "loss", cwd=folder)
    assert "--checkpoint takes one STUDY, and --metric alone besides" in both.stderr
