"""Methods side by side: which images are measured, what rows start from, and the table."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import methods_tried
from scripts.methods_tried import DIGITS, ROWS, configured, measured, photographs, print_table
from tests.data.toys import write_folder

# each step multiplies the weights by about -1,000
WILD: dict[str, object] = {"optim.lr": 100, "optim.weight_decay": 10, "optim.epochs": 20}
NAMES = ["PGD-AT, balanced softmax", "FAAL, 12 epochs from PGD-AT, balanced softmax"]


def _tiny(folder: Path) -> methods_tried.Bench:
    """The recipe on photographs for 8x8 images of noise, of which 6 are measured."""
    write_folder(folder, {"cat": 14, "frog": 14, "ship": 14}, test=4)
    bench = photographs(folder, ["ship", "cat", "frog"])
    small = {
        "data.val_per_class": 4, "data.max_per_class": 10, "data.imbalance_ratio": 5,
        "data.augmentation": "none", "attack.steps": 1, "optim.epochs": 2,
        "evaluation.every_epochs": 2,
    }  # fmt: skip
    return replace(bench, recipe={**bench.recipe, **small}, images=6)


def _write_colours(folder: Path, colours: dict[str, tuple[int, int, int]]) -> None:
    folder.mkdir(parents=True)
    for name, colour in colours.items():
        (folder / name).mkdir()
        for number in range(12):
            pixels = np.full((8, 8, 3), colour, dtype=np.uint8)
            pixels[0, 0] = number  # no two are equal
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_photographs_are_measured_on_the_test_images(tmp_path: Path) -> None:
    """The classes are two colours, which the test images exchange: all answers are wrong there."""
    red, blue = (200, 20, 20), (20, 20, 200)
    _write_colours(tmp_path / "images" / "train", {"a": red, "b": blue})
    _write_colours(tmp_path / "images" / "test", {"a": blue, "b": red})
    bench = photographs(tmp_path / "images", [])
    small = {
        "data.val_per_class": 4, "data.max_per_class": 8, "data.imbalance_ratio": 1,
        "data.augmentation": "none", "optim.epochs": 20,
    }  # fmt: skip
    bench = replace(bench, recipe={**bench.recipe, **small})
    config = configured(bench, {"method.name": "natural"}, 0, tmp_path)
    assert measured(bench, config, tmp_path)["clean, %"] == 0.0
    on_validation = replace(bench, split="val")
    assert measured(on_validation, config, tmp_path)["clean, %"] == 1.0


def test_a_step_in_radii_follows_the_radius(tmp_path: Path) -> None:
    photos = photographs(tmp_path, ["ship", "cat"])
    for name, on_digits, on_photos in (
        ("N-FGSM, balanced softmax", 0.1, 8 / 255),
        ("FGSM-RS, balanced softmax", 0.125, 10 / 255),
        ("PGD-AT", 0.025, 2 / 255),
    ):
        for bench, step in ((DIGITS, on_digits), (photos, on_photos)):
            config = configured(bench, ROWS[name], 0, tmp_path)
            assert config.attack.step_size == pytest.approx(step, abs=1e-12)


def test_every_row_is_a_valid_configuration_of_photographs(tmp_path: Path) -> None:
    for start in ("model.init", "method.teacher"):
        (tmp_path / f"{start}-3.pt").touch()  # as if it had been trained
    bench = photographs(tmp_path, ["ship", "cat"])
    for values in ROWS.values():
        assert configured(bench, values, 3, tmp_path).seeds.seed == 3


def test_the_table_has_a_row_for_each_method_and_says_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(_tiny(tmp_path), NAMES, seeds=2)
    title, *rows, words, about = capsys.readouterr().out.splitlines()
    assert re.split("  +", title) == ["method", *methods_tried.MEASURED]
    assert [re.split("  +", row)[0] for row in rows] == NAMES
    for row in rows:
        cells = re.split("  +", row)[1:]
        assert len(cells) == 5 and all(re.fullmatch(r"\d+\.\d ± \d+\.\d", one) for one in cells)
    assert "worst class and tail (cat, frog) are under PGD-20" in words  # of 4 and of 2 images
    assert words.endswith("± is the standard deviation over 2 seeds")
    assert about.startswith("6 test images; [10, 4, 2] training images by class, ")
    assert "L-inf eps 8/255" in about


def test_a_training_that_diverges_gives_its_reason_for_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS, "too fast", WILD)
    print_table(_tiny(tmp_path), ["too fast"], seeds=1)
    row = capsys.readouterr().out.splitlines()[1]
    assert row.startswith("too fast") and "became" in row
