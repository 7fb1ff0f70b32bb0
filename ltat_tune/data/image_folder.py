"""The user's own images: `root/train/<class>/*`, `root/test/<class>/*`, optionally `root/val`."""

from __future__ import annotations

import itertools
import os
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.decoding import Decoded, decode, size_problems
from ltat_tune.data.images import Images, Source, expanded, find_labels
from ltat_tune.errors import DataError

_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".avif", ".jp2",
}  # fmt: skip
_NAMED = 5  # examples in a note


@dataclass(frozen=True)
class _Folder:
    """The file names in a folder of images. No image is opened."""

    classes: tuple[str, ...]
    files: dict[str, list[list[Path]]]  # by split, then by class, sorted by name
    problems: list[str]
    passed_over: dict[str, dict[str, list[str]]]  # by split, then by what they are, names

    def listed(self, split: str) -> list[Path]:
        return [path for paths in self.files[split] for path in paths]

    def notes(self, split: str, decoded: Decoded) -> list[str]:
        """Return notes for the user about a split."""
        kinds = [
            f"{len(names)} {what} ({', '.join(sorted(names)[:_NAMED])}"
            f"{', ...' if len(names) > _NAMED else ''})"
            for what, names in self.passed_over[split].items()
            if names
        ]
        passed = [f"passed over: {'; '.join(kinds)}"] if kinds else []
        return [f"{split}/: {note}" for note in (*passed, *decoded.notes)]


def image_folder(config: DataConfig) -> Source:
    """Open a folder of images, with classes in the order of data.classes, else sorted by name.

    Hidden files, files that are not images, nested folders and folders that are no class are
    passed over, and a note counts and names them. `val/` is read only if data.val_source is
    folder.

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
    splits = {split: _entries(folder) for split, folder in folders.items()}
    names = sorted(splits["train"].folders)
    if strange := [name for name in names if not name.isprintable()]:
        raise DataError(
            "the names of classes must be printable; rename " + ", ".join(map(repr, strange))
        )
    labels = find_labels(names, config.classes, where=str(folders["train"]))
    classes = tuple(names[label] for label in labels)
    if len(classes) < 2:
        raise DataError(f"{folders['train']} must hold two or more class folders, got {names}")
    files: dict[str, list[list[Path]]] = {split: [] for split in folders}
    passed_over = {split: inside.passed_over(names) for split, inside in splits.items()}
    empty, problems = [], []
    # The names in test/ are checked too, so that an error ends the study at its start.
    for split, name in itertools.product(folders, classes):
        folder = folders[split] / name
        inside = _Entries()
        try:
            inside = _entries(folder)
        except FileNotFoundError:
            pass
        except DataError as error:
            problems.append(str(error))
        images = sorted(f for f in inside.files if os.path.splitext(f)[1].lower() in _SUFFIXES)
        files[split].append([folder / image for image in images])
        for what, passed in inside.passed_over(()).items():
            passed_over[split].setdefault(what, []).extend(f"{name}/{each}" for each in passed)
        others = [f"{name}/{file}" for file in set(inside.files) - set(images)]
        passed_over[split].setdefault("files that are no images", []).extend(others)
        if not images:
            alike = [f for f in splits[split].folders if f != name and f.lower() == name.lower()]
            hint = f" (there is {alike[0]}, which differs in case)" if alike else ""
            hint = hint or (f" (but {len(others)} other files)" if others else "")
            empty.append(f"{folder}{hint}")
    if empty:
        problems.insert(
            0, f"every class folder must hold images, but these hold none: {', '.join(empty)}"
        )
    return _Folder(classes, files, problems, passed_over)


def _split_folders(config: DataConfig) -> dict[str, Path]:
    """Return the folder of each split by its name.

    Raises:
        DataError: train/, test/ or (if data.val_source is folder) val/ is missing.
    """
    root = expanded(config.root or "")
    names = ("train", "val", "test") if config.val_source == "folder" else ("train", "test")
    folders = {split: root / split for split in names}
    missing = [str(folder) for folder in folders.values() if not os.path.isdir(folder)]
    if missing:
        needed = "train/, val/ (for data.val_source folder) and test/"
        raise DataError(
            f"data.root must hold {needed if 'val' in names else 'train/ and test/'} with one "
            f"folder per class, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    return folders


@dataclass
class _Entries:
    """The names in a folder, by what they are."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # pipes, links to nothing or in a circle

    def passed_over(self, classes: Collection[str]) -> dict[str, list[str]]:
        """Return what is no file and no folder of a class, by what it is."""
        return {
            "folders that are no class": [name for name in self.folders if name not in classes],
            "hidden files": self.hidden,
            "pipes, devices and broken links": self.others,
        }


def _entries(folder: Path) -> _Entries:
    """Return the names in a folder.

    Raises:
        FileNotFoundError: it is not there.
        DataError: it cannot be read.
    """
    found = _Entries()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    found.hidden.append(entry.name)
                    continue
                try:
                    kind = entry.stat().st_mode
                except OSError:  # a link to nothing, or in a circle: of an image, an error
                    is_image = os.path.splitext(entry.name)[1].lower() in _SUFFIXES
                    kind = stat.S_IFREG if is_image else 0
                place = found.folders if stat.S_ISDIR(kind) else found.others
                (found.files if stat.S_ISREG(kind) else place).append(entry.name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    return found
