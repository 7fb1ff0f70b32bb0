"""Anybody's own images: `root/train/<class>/*`, `root/test/<class>/*`, and `root/val` if asked."""

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
    """File names of a folder of images, found without opening one."""

    classes: tuple[str, ...]
    files: dict[str, list[list[Path]]]  # of each split and class, in the order of names
    problems: list[str]
    nested: dict[str, int]  # folders inside class folders of each split, which are passed over

    def listed(self, split: str) -> list[Path]:
        return [path for paths in self.files[split] for path in paths]

    def notes(self, split: str, found: Decoded) -> list[str]:
        """What people should know of a split."""
        passed = self.nested[split]
        nested = [f"folders inside class folders are passed over: {passed}"] if passed else []
        return [f"{split}/: {note}" for note in (*nested, *found.notes)]


def image_folder(config: DataConfig) -> Source:
    """The folder's splits; classes in the order that is given, else in that of their names.

    Hidden files, other files and nested folders are passed over. `val/` is read with
    data.val_source folder only.

    Raises:
        DataError: folders or classes that are not there or hold no image, all at once.
    """
    folder = _find(config)
    if folder.problems:
        raise DataError("\n".join(folder.problems))

    def load(split: str) -> Images:
        found = decode(folder.listed(split), config.image_size)
        targets = np.repeat(np.arange(len(folder.classes)), [len(p) for p in folder.files[split]])
        notes = folder.notes(split, found)
        return Images(found.require(), targets.astype(np.int64), tuple(notes))

    return Source(
        classes=folder.classes,
        train=lambda: load("train"),
        test=lambda: load("test"),
        val=(lambda: load("val")) if "val" in folder.files else None,
        train_counts=lambda: [len(paths) for paths in folder.files["train"]],
        files=folder.listed,
    )


def check_image_folder(config: DataConfig) -> list[str]:
    """Reads every image of every split and keeps none; returns notes for people.

    Raises:
        DataError: all that is wrong, of every kind and split, at once.
    """
    folder = _find(config)
    problems, notes = list(folder.problems), []
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    for split in folder.files:
        found = decode(folder.listed(split), config.image_size, keep=False)
        problems += [f"{split}/: {problem}" for problem in found.problems]
        notes += folder.notes(split, found)
        sizes[split] = found.sizes
    if all(len(found) <= 1 for found in sizes.values()):
        problems += size_problems(sum(sizes.values(), Counter()))
    if problems:
        raise DataError("\n".join(problems))
    return notes


def _find(config: DataConfig) -> _Folder:
    """Raises: DataError where there are no splits or no classes to speak of."""
    folders = _split_folders(config)
    found = sorted(name for name, is_folder in _entries(folders["train"]) if is_folder)
    labels = find_labels(found, config.classes, where=str(folders["train"]))
    classes = tuple(found[label] for label in labels)
    if len(classes) < 2:
        raise DataError(f"{folders['train']} must hold two or more class folders, found {found}")
    files: dict[str, list[list[Path]]] = {split: [] for split in folders}
    nested = dict.fromkeys(folders, 0)
    empty, problems = [], []
    # Of test/ too, by its names: otherwise a study would end with an error it could start with.
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
    """Raises: DataError, when train/, test/, or val/ where it is asked for, is not there."""
    try:
        root = Path(config.root or "").expanduser()
    except RuntimeError:
        raise DataError(f"data.root names a home that does not exist, got {config.root}") from None
    names = ("train", "val", "test") if config.val_source == "folder" else ("train", "test")
    folders = {split: root / split for split in names}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    if missing:
        needed = "train/, val/ (for data.val_source folder) and test/"
        raise DataError(
            f"data.root must hold {needed if 'val' in names else 'train/ and test/'} with one "
            f"folder a class, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there"
        )
    return folders


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder, and which are folders; what is hidden is passed over."""
    with os.scandir(folder) as entries:
        return [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]
