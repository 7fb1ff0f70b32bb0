"""The user's own images: `root/train/<class>/*`, `root/test/<class>/*`, optionally `root/val`."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.decoding import Decoded, decode, size_problems
from ltat_tune.data.images import Images, Source, find_labels
from ltat_tune.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class _Folder:
    """The file names in a folder of images. No image is opened."""

    classes: tuple[str, ...]
    files: dict[str, list[list[Path]]]  # by split, then by class, sorted by name
    problems: list[str]
    nested: dict[str, int]  # number of folders inside class folders, by split; they are ignored

    def listed(self, split: str) -> list[Path]:
        return [path for paths in self.files[split] for path in paths]

    def notes(self, split: str, decoded: Decoded) -> list[str]:
        """Return notes for the user about a split."""
        count = self.nested[split]
        nested = [f"folders inside class folders are ignored: {count}"] if count else []
        return [f"{split}/: {note}" for note in (*nested, *decoded.notes)]


def image_folder(config: DataConfig) -> Source:
    """Open a folder of images, with classes in the order of data.classes, else sorted by name.

    Hidden files, files that are not images and nested folders are ignored. `val/` is read only if
    data.val_source is folder.

    Raises:
        DataError: folders or classes are missing or hold no image. The error lists all of them.
    """
    folder = _find(config)
    if folder.problems:
        raise DataError("\n".join(folder.problems))

    def load(split: str) -> Images:
        decoded = decode(folder.listed(split), config.image_size)
        targets = np.repeat(np.arange(len(folder.classes)), [len(p) for p in folder.files[split]])
        notes = folder.notes(split, decoded)
        return Images(decoded.require(), targets.astype(np.int64), tuple(notes))

    return Source(
        classes=folder.classes,
        train=lambda: load("train"),
        test=lambda: load("test"),
        val=(lambda: load("val")) if "val" in folder.files else None,
        train_counts=lambda: [len(paths) for paths in folder.files["train"]],
        files=folder.listed,
    )


def check_image_folder(config: DataConfig) -> list[str]:
    """Read every image of every split, keep none, and return human-readable notes.

    Raises:
        DataError: images cannot be used. The error lists all problems of all splits.
    """
    folder = _find(config)
    problems, notes = list(folder.problems), []
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    for split in folder.files:
        decoded = decode(folder.listed(split), config.image_size, keep=False)
        problems += [f"{split}/: {problem}" for problem in decoded.problems]
        notes += folder.notes(split, decoded)
        sizes[split] = decoded.sizes
    if all(len(counts) <= 1 for counts in sizes.values()):
        problems += size_problems(sum(sizes.values(), Counter()))
    if problems:
        raise DataError("\n".join(problems))
    return notes


def _find(config: DataConfig) -> _Folder:
    """List the files of all splits.

    Raises:
        DataError: splits are missing, or there are fewer than two classes.
    """
    folders = _split_folders(config)
    names = sorted(name for name, is_folder in _entries(folders["train"]) if is_folder)
    labels = find_labels(names, config.classes, where=str(folders["train"]))
    classes = tuple(names[label] for label in labels)
    if len(classes) < 2:
        raise DataError(f"{folders['train']} must hold two or more class folders, got {names}")
    files: dict[str, list[list[Path]]] = {split: [] for split in folders}
    nested = dict.fromkeys(folders, 0)
    empty, problems = [], []
    # The names in test/ are checked too, so that an error ends the study at its start.
    for split, name in itertools.product(folders, classes):
        folder = folders[split] / name
        inside: list[tuple[str, bool]] = []
        try:
            inside = _entries(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            problems.append(f"{folder} cannot be read: {error.strerror}")
        else:
            nested[split] += sum(is_folder for _, is_folder in inside)
        images = sorted(
            entry
            for entry, is_folder in inside
            if not is_folder and os.path.splitext(entry)[1].lower() in _SUFFIXES
        )
        files[split].append([folder / image for image in images])
        if not images:
            empty.append(str(folder))
    if empty:
        problems.insert(
            0, f"every class folder must hold images, but these hold none: {', '.join(empty)}"
        )
    return _Folder(classes, files, problems, nested)


def _split_folders(config: DataConfig) -> dict[str, Path]:
    """Return the folder of each split by its name.

    Raises:
        DataError: train/, test/ or (if data.val_source is folder) val/ is missing.
    """
    try:
        root = Path(config.root or "").expanduser()
    except RuntimeError:
        raise DataError(
            f"data.root must not name a home directory that does not exist, got {config.root}"
        ) from None
    names = ("train", "val", "test") if config.val_source == "folder" else ("train", "test")
    folders = {split: root / split for split in names}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    if missing:
        needed = "train/, val/ (for data.val_source folder) and test/"
        raise DataError(
            f"data.root must hold {needed if 'val' in names else 'train/ and test/'} with one "
            f"folder per class, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    return folders


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder and whether each is a folder, without hidden entries."""
    with os.scandir(folder) as entries:
        return [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]
