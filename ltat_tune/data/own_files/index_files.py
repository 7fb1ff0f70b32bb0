"""Fixed splits: files of indices into the images of a data set."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.images import Images, Source, expanded
from ltat_tune.data.long_tail import Indices
from ltat_tune.errors import DataError

_INTO = {"train": "training", "val": "training", "test": "test"}


def at_indices(source: Source, config: DataConfig) -> Source:
    """Return the data set with the images that `data.indices` names; unchanged without any.

    `train` and `val` index the training images of the data set, from 0, and share none. With
    `val` alone, the training images are all others. `test` indexes the test images.

    Raises:
        DataError: a file is missing or holds no indices, or images are in two splits.
    """
    files: dict[str, str] = {split: name for split, name in (config.indices or {}).items()}
    if not files:
        return source
    chosen: dict[str, Indices] = {}
    problems: list[str] = []
    for split, name in files.items():
        try:
            chosen[split] = _read(split, name)
        except DataError as error:
            problems.append(str(error))
    if {"train", "val"} <= set(chosen):
        both = np.intersect1d(chosen["train"], chosen["val"])
        if len(both):
            problems.append(
                f"data.indices: train and val must share no image, but share {len(both)}, the "
                f"first is {both[0]}"
            )
    if problems:
        raise DataError("\n".join(problems))

    def picked(split: str, read: Callable[[], Images], names: str) -> Callable[[], Images]:
        def read_some() -> Images:
            data = read()
            if names == "val" and split == "train":  # all others
                places = np.setdiff1d(np.arange(len(data.targets)), _within("val", chosen, data))
            else:
                places = _within(names, chosen, data)
            if split == "train":
                _check_classes(data.targets[places], source.classes, files)
            return Images(data.images[places], data.targets[places], data.notes)

        return read_some

    train, val, test = source.train, source.val, source.test
    if "train" in chosen or "val" in chosen:
        train = picked("train", source.train, "train" if "train" in chosen else "val")
    if "val" in chosen:
        val = picked("val", source.train, "val")
    if "test" in chosen:
        test = picked("test", source.test, "test")
    stamps = tuple((name, Path(name).expanduser().stat().st_mtime_ns) for name in files.values())

    def train_counts() -> list[int]:
        return list(_counts(config.model_dump_json(), stamps, _Labels(train, len(source.classes))))

    counts = source.train_counts if train is source.train else train_counts
    return replace(source, train=train, val=val, test=test, train_counts=counts)


class _Labels:
    """Reads the labels of a split. All are equal, so that a cache goes by its other arguments."""

    def __init__(self, read: Callable[[], Images], classes: int) -> None:
        self._read, self._classes = read, classes

    def counts(self) -> tuple[int, ...]:
        """Read the split and return its images of every class."""
        return tuple(int(n) for n in np.bincount(self._read().targets, minlength=self._classes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Labels)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=16)
def _counts(config: str, stamps: tuple[tuple[str, int], ...], labels: _Labels) -> tuple[int, ...]:
    """Return the training images of every class; most data sets must be read for it."""
    return labels.counts()


def _read(split: str, name: str) -> Indices:
    """Return the indices in a file: an array .npy of whole numbers or of true and false."""
    path, where = expanded(name), f"data.indices: {split} ({name})"
    if not path.is_file():
        raise DataError(f"{where} must name a file of indices, which is missing")
    try:
        if path.suffix == ".npy":
            written = np.load(path, allow_pickle=False)
        else:
            written = np.loadtxt(path, dtype=np.int64, ndmin=1, comments="#")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{where} cannot be read as a .npy file, or as text with one whole number "
                        f"a line ({error})") from error  # fmt: skip
    if written.dtype == bool:
        written = np.flatnonzero(written)
    if written.ndim != 1 or written.dtype.kind not in "iu" or not len(written):
        raise DataError(
            f"{where} must hold a list of whole numbers, got shape {written.shape} of "
            f"{written.dtype}"
        )
    indices: Indices = written.astype(np.int64)
    if int(indices.min()) < 0:
        raise DataError(f"{where} must hold numbers from 0 on, got {indices.min()}")
    values, times = np.unique(indices, return_counts=True)
    if times.max() > 1:
        raise DataError(
            f"{where} must hold each image once, but holds {values[times.argmax()]} "
            f"{times.max()} times"
        )
    return indices


def _within(split: str, chosen: dict[str, Indices], data: Images) -> Indices:
    indices, images = chosen[split], len(data.targets)
    if int(indices.max()) >= images:
        raise DataError(
            f"data.indices: {split} must index the {images} {_INTO[split]} images of the data "
            f"set, 0 to {images - 1}, got {indices.max()}"
        )
    return indices


def _check_classes(
    targets: NDArray[np.int64], classes: tuple[str, ...], files: dict[str, str]
) -> None:
    counts = np.bincount(targets, minlength=len(classes))
    if empty := [classes[label] for label in np.flatnonzero(counts == 0)]:
        raise DataError(
            f"data.indices ({', '.join(files.values())}) must leave training images of every "
            f"class, but none of {', '.join(empty)}; name the others in data.classes"
        )
