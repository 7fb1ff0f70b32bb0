"""The interface of a data set: images, labels, class names, and functions that read them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltat_tune.errors import DataError

_AT_ONCE = 1024  # images that are resized together


@dataclass(frozen=True)
class Images:
    """Images of one official split and their labels."""

    images: NDArray[Any]  # (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]
    targets: NDArray[np.int64]  # (N,), 0..K-1
    notes: tuple[str, ...] = ()  # for the user, about how the files were read


def expanded(root: str | Path) -> Path:
    """Return data.root with the user's home directory in place of `~`.

    Raises:
        DataError: the home directory does not exist.
    """
    try:
        return Path(root).expanduser()
    except RuntimeError:
        raise DataError(
            f"data.root must not name a home directory that does not exist, got {root}"
        ) from None


def _no_files(split: str) -> list[Path]:
    return []


@dataclass(frozen=True)
class Source:
    """A published data set. Its splits are functions, so nothing reads the test by accident."""

    classes: tuple[str, ...]
    train: Callable[[], Images]
    test: Callable[[], Images]
    train_counts: Callable[[], list[int]]
    val: Callable[[], Images] | None = None  # the data set's own, if data.val_source asks
    files: Callable[[str], list[Path]] = _no_files  # files of a split (train, test, val)

    @property
    def splits(self) -> dict[str, Callable[[], Images]]:
        """The function of every split by its name, in the order train, val, test."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: read for name, read in splits.items() if read is not None}

    def with_splits(
        self, changed: Callable[[str, Callable[[], Images]], Callable[[], Images]]
    ) -> Source:
        """Return a copy whose split functions are `changed(name, function)`."""
        val = None if self.val is None else changed("val", self.val)
        return replace(
            self, train=changed("train", self.train), test=changed("test", self.test), val=val
        )


def resized(images: NDArray[Any], size: int | None) -> NDArray[Any]:
    """Return images (N, C, H, W) resized bilinearly to `size` pixels a side; None keeps them."""
    if size is None or images.shape[2:] == (size, size):
        return images
    import torch  # here, because reading a space file must not take the seconds of this import
    from torch.nn.functional import interpolate

    made = np.empty((*images.shape[:2], size, size), dtype=images.dtype)
    for begin in range(0, len(images), _AT_ONCE):
        some = torch.from_numpy(np.array(images[begin : begin + _AT_ONCE]))
        made[begin : begin + _AT_ONCE] = interpolate(
            some, (size, size), mode="bilinear", antialias=True, align_corners=False
        ).numpy()
    return made


def find_labels(
    available: Sequence[str], wanted: Sequence[str] | None, *, where: str
) -> list[int]:
    """Return the indices of the wanted classes among the available ones, (K,); None wants all.

    Raises:
        DataError: classes do not exist. The error lists all of them and suggests similar names.
    """
    if wanted is None:
        return list(range(len(available)))
    unknown = [name for name in wanted if name not in available]
    if unknown:
        near = [difflib.get_close_matches(name, available, n=1) for name in unknown]
        meant = ", ".join(dict.fromkeys(name for names in near for name in names))
        shown = ", ".join(available[:20]) + (", ..." if len(available) > 20 else "")
        raise DataError(
            f"data.classes must be classes of {where}, but {', '.join(unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} not; "
            + (f"did you mean {meant}? Choose from: " if meant else "choose from: ")
            + shown
        )
    return [available.index(name) for name in wanted]


def pick_classes(source: Source, wanted: Sequence[str] | None, *, where: str) -> Source:
    """Return the data set with the wanted classes only, relabelled 0..K-1 in the wanted order.

    Raises:
        DataError: see `find_labels`.
    """
    labels = find_labels(source.classes, wanted, where=where)
    if labels == list(range(len(source.classes))):
        return source

    def picked(split: str, read: Callable[[], Images]) -> Callable[[], Images]:
        def read_some() -> Images:
            data = read()
            members = [np.flatnonzero(data.targets == label) for label in labels]
            targets = np.repeat(np.arange(len(labels)), [len(indices) for indices in members])
            return Images(
                data.images[np.concatenate(members)], targets.astype(np.int64), data.notes
            )

        return read_some

    def train_counts() -> list[int]:
        counts = source.train_counts()
        return [counts[label] for label in labels]

    return replace(
        source.with_splits(picked),
        classes=tuple(source.classes[label] for label in labels),
        train_counts=train_counts,
    )
