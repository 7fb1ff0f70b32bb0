"""Small image folders, written with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ltat_tune.config.sections import DataConfig


def write_image(path: Path, seed: int, *, size: tuple[int, int] = (8, 8)) -> None:
    """A PNG of noise; `size` is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_folder(
    root: Path, counts: dict[str, int], *, test: int = 3, size: tuple[int, int] = (8, 8)
) -> DataConfig:
    """`root/train/<class>` with these counts and `root/test/<class>` with `test` images each."""
    seed = 0
    for name, count in counts.items():
        for split, images in (("train", count), ("test", test)):
            for number in range(images):
                write_image(root / split / name / f"{number:03d}.png", seed, size=size)
                seed += 1
    return DataConfig(name="image_folder", root=str(root))
