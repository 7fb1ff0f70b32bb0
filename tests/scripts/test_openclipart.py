"""scripts/openclipart.py: a folder of images that a study can read, none in two splits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.sources import open_source

SCRIPT = Path(__file__).parents[2] / "scripts" / "openclipart.py"


def _draw(path: Path, seed: int, size: tuple[int, int] = (60, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (*size[::-1], 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0] = 0  # transparent
    Image.fromarray(pixels).save(path)


def test_folders_of_drawings_become_classes(tmp_path: Path) -> None:
    source = tmp_path / "png"
    for number in range(40):
        _draw(source / "animals" / "birds" / f"{number}.png", number)
    for number in range(12):
        _draw(source / "tools" / f"{number}.png", 100 + number)
    _draw(source / "animals" / "as-a-tool.png", 100)  # the same drawing as of a rarer class
    (source / "tools" / "torn.png").write_bytes(b"\x89PNG")
    for number in range(3):
        _draw(source / "logos" / f"{number}.png", 200 + number)
    _draw(source / "unsorted" / "0.png", 300)
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "out", "--side", "16", "--source", source],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "logos: left out, 3 drawings",
        "tools: 6 train, 3 val, 3 test",
        "animals: 20 train, 10 val, 10 test",
        "1 drawings like others and 1 that are torn or too large are left out",
    ]
    read = open_source(
        DataConfig(name="image_folder", root=str(tmp_path / "out"), val_source="folder")
    )
    assert read.classes == ("animals", "tools")
    splits = {name: images().images for name, images in read.splits.items()}
    assert splits["train"].shape == (26, 3, 16, 16)
    whole = np.concatenate(list(splits.values()))
    assert len(np.unique(whole.reshape(len(whole), -1), axis=0)) == 52
    assert (whole[:, :, :4] == 255).all()  # 60 x 30 lies in the middle of a white square
