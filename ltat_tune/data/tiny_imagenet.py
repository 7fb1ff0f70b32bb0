"""Reads Tiny-ImageNet from its official folder. Its validation split serves as the test split."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.decoding import decode
from ltat_tune.data.downloads import Download, fetch, how_to_get, official_root, require
from ltat_tune.data.images import Images, Source
from ltat_tune.errors import DataError

CLASSES = 200
TRAIN_PER_CLASS = 500
TEST_IMAGES = 10_000
DOWNLOADS = (
    Download(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
        248_100_043,
    ),
)
_SIDE = 64


def tiny_imagenet(config: DataConfig) -> Source:
    """Open 100,000 training and 10,000 test images of 64x64 in 200 classes of equal size.

    Classes are WordNet ids in sorted order; the file words.txt of the data set explains them.
    Images of a class are sorted by name. Grey images are read as RGB. The official test split has
    no labels and is not used.

    Raises:
        DataError: the official folder is missing. The error says what to do.
    """
    folder = folder_of(config)
    require(config, _lists(folder), DOWNLOADS)
    classes = tuple(sorted((folder / "wnids.txt").read_text().split()))

    def train() -> Images:
        paths = [_of_class(folder, name) for name in classes]
        _complain(config, _miscounted(folder, classes))
        targets = np.repeat(np.arange(len(classes)), [len(listed) for listed in paths])
        return _load("train", [p for listed in paths for p in listed], targets)

    def test() -> Images:
        names, labels = _annotations(config, folder, classes)
        return _load("test", [folder / "val" / "images" / n for n in names], np.array(labels))

    def files(split: str) -> list[Path]:
        # Folders, not images: on a network disk, 100,000 file accesses take minutes.
        if split == "test":
            return [folder / "val" / "val_annotations.txt", folder / "val" / "images"]
        return [folder / "wnids.txt", *(folder / "train" / name / "images" for name in classes)]

    return Source(
        classes=classes,
        train=train,
        test=test,
        train_counts=lambda: [TRAIN_PER_CLASS] * len(classes),
        files=files,
    )


def folder_of(config: DataConfig) -> Path:
    """Return the folder that the official archive unpacks to."""
    return official_root(config) / "tiny-imagenet-200"


def has_tiny_imagenet(config: DataConfig) -> bool:
    """Return whether the official lists exist, by their names. Images are not counted."""
    return all(path.is_file() for path in _lists(folder_of(config)))


def ensure_tiny_imagenet(config: DataConfig, *, download: bool) -> None:
    """Fetch and unpack the official archive, unless a complete folder exists.

    Raises:
        DataError: the folder is incomplete, or the archive is missing and cannot be fetched.
    """
    folder = folder_of(config)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Unpacked beside it and then renamed, so that an existing folder is complete.
        temporary = Path(tempfile.mkdtemp(prefix=".tiny-imagenet-", dir=folder.parent))
        try:
            fetch(config, DOWNLOADS, download=download, unpack_to=temporary)
            os.rename(temporary / "tiny-imagenet-200", folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    problems = [f"{path} is missing" for path in _lists(folder) if not path.is_file()]
    if not problems:
        classes = tuple(sorted((folder / "wnids.txt").read_text().split()))
        problems = _miscounted(folder, classes)
    _complain(config, problems)
    _annotations(config, folder, classes)


def _lists(folder: Path) -> list[Path]:
    return [folder / "wnids.txt", folder / "val" / "val_annotations.txt"]


def _of_class(folder: Path, name: str) -> list[Path]:
    images = folder / "train" / name / "images"
    names = sorted(os.listdir(images)) if images.is_dir() else []
    return [images / file for file in names if file.endswith(".JPEG")]


def _miscounted(folder: Path, classes: tuple[str, ...]) -> list[str]:
    problems = []
    if len(classes) != CLASSES:
        problems.append(f"{folder / 'wnids.txt'} must list {CLASSES} classes, got {len(classes)}")
    for name in classes:
        count = len(_of_class(folder, name))
        if count != TRAIN_PER_CLASS:
            where = folder / "train" / name / "images"
            problems.append(f"{where} must hold {TRAIN_PER_CLASS} images, got {count}")
    return problems


def _annotations(
    config: DataConfig, folder: Path, classes: tuple[str, ...]
) -> tuple[list[str], list[int]]:
    """Return file names and labels of the official validation images, in the list's order."""
    path = folder / "val" / "val_annotations.txt"
    rows = [line.split("\t")[:2] for line in path.read_text().splitlines() if line]
    label_of = {name: label for label, name in enumerate(classes)}
    strange = [row for row in rows if len(row) != 2 or row[1] not in label_of]
    if strange or len(rows) != TEST_IMAGES:
        _complain(
            config,
            [
                f"{path} must assign one of the {len(classes)} classes to each of {TEST_IMAGES} "
                f"images, got {len(rows) - len(strange)} valid lines"
            ],
        )
    images = path.parent / "images"
    present = set(os.listdir(images)) if images.is_dir() else set()
    missing = [name for name, _ in rows if name not in present]
    if missing:
        _complain(config, [f"{images} lacks {len(missing)} images, the first is {missing[0]}"])
    return [name for name, _ in rows], [label_of[wnid] for _, wnid in rows]


def _load(split: str, paths: list[Path], targets: np.ndarray) -> Images:
    decoded = decode(paths, None)
    images = decoded.require()
    if images.shape[2:] != (_SIDE, _SIDE):
        raise DataError(f"images of Tiny-ImageNet must be {_SIDE}x{_SIDE}, got {images.shape[2:]}")
    notes = tuple(f"{split}: {note}" for note in decoded.notes)
    return Images(images, targets.astype(np.int64), notes)


def _complain(config: DataConfig, problems: list[str]) -> None:
    """Raise DataError if there are problems."""
    if problems:
        shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if problems[20:] else [])
        raise DataError(
            "\n".join(shown) + f"\ndelete {folder_of(config)} and {how_to_get(config, DOWNLOADS)}"
        )
