"""An .npz file of images and labels, with the keys of MedMNIST's files."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.images import Images, Source, expanded
from ltat_tune.errors import DataError

_KEYS = "train_images, train_labels, test_images and test_labels (and val_images, val_labels)"


def npz(config: DataConfig) -> Source:
    """Open images N x H x W or N x H x W x C, uint8, and labels N or N x 1, whole numbers from 0.

    The classes are the labels 0 to the largest of the training images, or have the names in the
    array `classes`. Files of MedMNIST are read as they are published.

    Raises:
        DataError: the file is missing, is no such file, or has several labels an image.
    """
    path = expanded(config.root or "")
    labels = _all_labels(path)
    counts = np.bincount(labels["train"])
    names = _class_names(path, len(counts))
    _check_labels(path, labels, names)

    def load(split: str) -> Images:
        with _opened(path) as arrays:
            images = _planes(path, f"{split}_images", _array(path, arrays, f"{split}_images"))
        if len(images) != len(labels[split]):
            raise DataError(
                f"{path} must hold one label for each image, got {len(images)} {split}_images "
                f"and {len(labels[split])} {split}_labels"
            )
        return Images(images, labels[split])

    return Source(
        classes=names,
        train=lambda: load("train"),
        test=lambda: load("test"),
        val=(lambda: load("val")) if "val" in labels else None,
        train_counts=lambda: [int(count) for count in counts],
        files=lambda split: [path],
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the file, without unpickling anything.

    Raises:
        DataError: it is missing or no .npz file, or an array in it is damaged.
    """
    if not path.is_file():
        raise DataError(
            f"data.root must name an .npz file when data.name is npz, but {path} is "
            f"{'a folder' if path.is_dir() else 'missing'}"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as an .npz file ({type(error).__name__}: {error})"
        ) from error


def _array(path: Path, arrays: Any, key: str) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(f"{path} must hold the arrays {_KEYS}, but {key} is missing")
    array: NDArray[Any] = arrays[key]
    return array


def _all_labels(path: Path) -> dict[str, NDArray[np.int64]]:
    """Return the labels of every split of the file, (N,), by its name.

    Raises:
        DataError: arrays are missing, or labels are not one whole number an image.
    """
    with _opened(path) as arrays:
        splits = ["train", "test"]
        splits += ["val"] if {"val_images", "val_labels"} & set(arrays) else []
        needed = [f"{split}_{what}" for split in splits for what in ("images", "labels")]
        if missing := [key for key in needed if key not in arrays]:
            raise DataError(
                f"{path} must hold the arrays {_KEYS}, but {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing"
            )
        return {s: _labels(path, f"{s}_labels", _array(path, arrays, f"{s}_labels"))
                for s in splits}  # fmt: skip


def _labels(path: Path, key: str, written: NDArray[Any]) -> NDArray[np.int64]:
    if written.ndim == 2 and written.shape[1] > 1:
        raise DataError(
            f"{path}: {key} must hold one label for each image, got {written.shape[1]}; data sets "
            "with several labels an image, such as ChestMNIST, cannot be used"
        )
    labels = written.reshape(-1)
    if not len(labels) or written.ndim > 2 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {key} must hold one whole number for each image, got shape "
            f"{written.shape} of {written.dtype}"
        )
    if int(labels.min()) < 0:
        raise DataError(f"{path}: {key} must be numbers from 0 on, got {int(labels.min())}")
    return labels.astype(np.int64)


def _class_names(path: Path, classes: int) -> tuple[str, ...]:
    with _opened(path) as arrays:
        if "classes" not in arrays:
            return tuple(str(label) for label in range(classes))
        names = tuple(str(name) for name in arrays["classes"].reshape(-1))
    if len(names) < classes or len(set(names)) != len(names):
        raise DataError(
            f"{path}: the array classes must hold a different name for each of the {classes} "
            f"classes, got {len(names)}"
        )
    return names


def _check_labels(
    path: Path, labels: dict[str, NDArray[np.int64]], names: tuple[str, ...]
) -> None:
    """Raise DataError if there are fewer than two classes, or a split lacks one or has others."""
    problems = []
    if len(names) < 2:
        problems.append(f"{path}: train_labels must hold two or more classes, got {len(names)}")
    for split, held in labels.items():
        counts = np.bincount(held, minlength=len(names))
        if len(counts) > len(names):
            problems.append(
                f"{path}: {split}_labels must be classes of train_labels, 0 to {len(names) - 1}, "
                f"got {len(counts) - 1}"
            )
        empty = [names[label] for label in np.flatnonzero(counts[: len(names)] == 0)]
        if empty:
            problems.append(
                f"{path}: {split}_labels must hold every class, but {', '.join(empty)} "
                f"{'is' if len(empty) == 1 else 'are'} missing"
            )
    if problems:
        raise DataError("\n".join(problems))


def _planes(path: Path, key: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the images as (N, C, H, W)."""
    shape = images.shape
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise DataError(
            f"{path}: {key} must be of shape N x H x W or N x H x W x C with one or three "
            f"channels, uint8, got shape {shape} of {images.dtype}"
        )
    if images.shape[1] != images.shape[2]:
        raise DataError(
            f"{path}: {key} must be square, got {images.shape[1]} x {images.shape[2]} pixels"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
