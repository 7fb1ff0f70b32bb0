"""`confirm.test_images`: every model of a study meets the same class-balanced part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import load_splits
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import find_targets
from ltat_tune.planning.cost import attack_passes, sentinel_passes
from ltat_tune.preflight.resume import check_changes
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_test
from ltat_tune.training.evaluation import measured_part
from tests.drive import ALONE, MINI, call, write_space
from tests.made_studies import made_study

CONFIRM = {**MINI["confirm"], "attacks": ["clean", "pgd3"]}
DIGITS = TrialConfig.from_flat(
    {"data.name": "digits", "data.imbalance_ratio": 2, "evaluation.aa_images": 50}
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one scenario that tests on at most 105 images."""
    folder = tmp_path_factory.mktemp("part")
    space = write_space(
        folder, scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 2}, resources=ALONE,
        confirm={**CONFIRM, "test_images": 105},
    )  # fmt: skip
    done = call("run", space, "--in-process", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "tested on a class-balanced part of 105 test images" in " ".join(done.stdout.split())
    return folder / "studies" / "mini"


def measured_of(study: Path) -> dict[str, Any]:
    found = {p.name: read_test(p) for p in (study / "confirmations").glob("*/*")}
    assert len(found) == 4  # winner and baseline, two seeds each
    return found


def test_all_models_answer_the_same_images_of_each_class(study: Path) -> None:
    # by hand: 105 // 10 images of each class, drawn by one generator, class after class
    splits = load_splits(TrialConfig.from_flat(MINI["fixed"] | {"data.imbalance_ratio": 2}))
    data = splits.test()
    targets, generator, places = data.targets.numpy(), np.random.RandomState(0), []
    for label in range(10):
        members = np.flatnonzero(targets == label)
        places += sorted(generator.permutation(members)[:10])
    for name, measured in measured_of(study).items():
        assert measured.images == {"clean": 100, "pgd3": 100}
        assert measured.part == 105
        assert measured.correct["pgd3"].images == [10] * 10
        place = next((study / "confirmations").glob(f"*/{name}"))
        model = load_target(find_targets(str(place), study.parent)[0]).model
        with torch.no_grad():
            predicted = model(to_unit(data.images[places])).argmax(dim=1).numpy()
        assert measured.metrics["test/clean_acc"] == np.mean(predicted == targets[places])


def test_evaluate_and_train_measure_the_same_part(study: Path) -> None:
    folder = study.parents[1]
    best = study / "best" / "best-imbalance_ratio_2.yaml"
    assert yaml.safe_load(best.read_text())["recorded"]["test_part"] == 105
    done = call("train", best, "--test", cwd=folder)
    assert done.returncode == 0 and "reproduced" in done.stderr, done.stderr
    measure = ("evaluate", "mini", "--attacks", "clean,pgd3", "--no-sentinel", "--quiet",
               "--format", "json")  # fmt: skip
    # the study's part is the default
    for words in ((), ("--test-images", "105")):
        card = json.loads(call(*measure, *words, cwd=folder).stdout)["cards"][0]
        winner = measured_of(study)[Path(card["model"]["checkpoint"]).parent.name]
        for row in card["rows"]:
            assert row["images"] == 100 and "--test-images 10" in row["command"]
            assert row["numbers"]["acc"] == winner.metrics[f"test/{row['attack']}_acc"]
    every = json.loads(call(*measure, "--test-images", "400", cwd=folder).stdout)["cards"][0]
    assert {row["images"] for row in every["rows"]} == {400}
    note = json.loads(
        call("compare", "mini", "--by", "loss", "--format", "json", cwd=folder).stdout
    )
    assert "mini: tested on a class-balanced part of 105 test images" in " ".join(note["notes"])
    assert "class-balanced part of 105" in best.with_suffix(".md").read_text()


def test_a_resume_with_another_part_tests_again(study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(study, tmp_path / "studies" / "mini")
    space = copy / "space.yaml"
    assert space.read_text().count("test_images: 105") == 1
    space.write_text(space.read_text().replace("test_images: 105", "test_images: 20"))
    weights = {name: one.weights for name, one in measured_of(copy).items()}
    done = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "confirm.test_images: 105 then, 20 now" in done.stderr
    assert "tested: clean" in done.stderr and "of 20 images" in done.stderr
    for name, measured in measured_of(copy).items():
        assert measured.images == {"clean": 20, "pgd3": 20}
        assert measured.weights == weights[name]  # nothing was trained again


def test_what_was_tested_on_other_images_does_not_count(tmp_path: Path) -> None:
    folder = made_study(tmp_path, finished=False)
    document = yaml.safe_load(folder.space.read_text())
    document["confirm"]["test_images"] = 100
    folder.write_space(document)
    check_changes(StudyFolder(folder.root), {}, document)  # is no reason to refuse
    shown = call("compare", folder.root, "--format", "json", cwd=tmp_path)
    for scenario in json.loads(shown.stdout)["scenarios"]:
        assert all(one["test"] == {} for one in scenario["confirmed"])


def test_a_part_never_has_more_images_than_a_slow_attack_gets() -> None:
    data = load_splits(DIGITS).test()
    sizes = {
        (attack, most): len(measured_part(data, attack, DIGITS, split="test", at_most=most))
        for attack in ("pgd3", "aa") for most in (None, 30, 100, 10**6)
    }  # fmt: skip
    assert [sizes["pgd3", most] for most in (None, 30, 100, 10**6)] == [400, 30, 100, 400]
    assert [sizes["aa", most] for most in (None, 30, 100, 10**6)] == [50, 30, 50, 50]


def test_the_plan_counts_the_part_alone() -> None:
    # pgd3: half a pass for the clean forward, and 3; AutoAttack: half a pass, and 3600
    attacks = ("pgd3", "aa")
    assert attack_passes(DIGITS, attacks, 400) == {"pgd3": 400 * 3.5, "aa": 50 * 3600.5}
    assert attack_passes(DIGITS, attacks, 400, at_most=30) == {"pgd3": 105.0, "aa": 30 * 3600.5}
    assert sentinel_passes(30) == 30 * 760.0 and sentinel_passes(4000) == 400 * 760.0


def test_a_part_needs_an_image_of_each_class(tmp_path: Path) -> None:
    space = write_space(tmp_path, confirm={**CONFIRM, "test_images": 9})
    done = call("run", space, "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "confirm.test_images must be at least 10, one image for each class, got 9" \
        in " ".join(done.stderr.split())  # fmt: skip
