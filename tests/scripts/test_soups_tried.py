"""The script on soups: its interval by hand, spaces whose trials share stems, and photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.preflight.load import load_space
from ltat_tune.search.stems import may_share
from scripts import soups_tried
from tests.data.toys import write_folder


def test_gains_have_students_interval_and_are_counted() -> None:
    # mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.3027: 2 -+ 2.48
    said = soups_tried.in_words([1.0, 2.0, 3.0])
    assert said == "+2.00 points (95 % interval -0.48 to +4.48), 3 of 3 higher, 0 lower"
    assert soups_tried.in_words([0.0]) == "+0.00 points, 0 of 1 higher, 0 lower"


@pytest.mark.parametrize("file", [soups_tried.DIGITS, soups_tried.PHOTOGRAPHS])
def test_the_trials_of_its_study_can_share_a_stem(file: Path, tmp_path: Path) -> None:
    images = write_folder(tmp_path, {"cat": 110, "ship": 110})
    assert images.root is not None
    of_folder = [f"data.root={images.root}"] if file == soups_tried.PHOTOGRAPHS else []
    space = load_space(file, overrides=of_folder, check_machine=False)
    params: dict[str, object] = {"reweight.name": "class_balanced", "reweight.beta": 0.9}
    if "optim.lr" in space.tuned:
        params["optim.lr"] = 0.1
    assert may_share(space, space.config(space.scenarios[0], params))


def test_a_study_on_a_folder_of_images_has_three_models_on_its_test_images(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", {"cat": 14, "frog": 14, "ship": 14}, test=4)
    small = {
        "data.root": str(tmp_path / "images"), "data.classes": ["ship", "cat", "frog"],
        "data.val_per_class": 4, "data.max_per_class": 10, "data.imbalance_ratio": 5,
        "data.augmentation": "none", "attack.steps": 1, "optim.epochs": 4,
        "searcher.trials": 3, "evaluation.every_epochs": 4,
    }  # fmt: skip
    found, on_val, members, about = soups_tried.one_study(
        soups_tried.PHOTOGRAPHS, small, 7, tmp_path / "studies"
    )
    assert list(found) == list(soups_tried.ROWS)
    assert all(0 <= robust <= clean <= 1 for clean, robust in found.values())
    assert (on_val > 0) == (members > 1)
    assert about.startswith("12 test images, [10, 4, 2] training images by class, ")
    assert about.endswith("L-inf eps 8/255")
    assert (tmp_path / "studies" / "soups-photographs-7").is_dir()
