"""Where images come from: one function a data set, raw arrays out, nothing cut yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltat_tune.config import DataConfig, TrialConfig
from ltat_tune.data.long_tail import profile_counts
from ltat_tune.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}
_DIGITS_TEST_PER_CLASS = 40


@dataclass(frozen=True)
class Images:
    """Images of one official split and their labels."""

    images: NDArray[Any]  # (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]
    targets: NDArray[np.int64]  # (N,), 0..K-1


@dataclass(frozen=True)
class Source:
    """A data set as published. Its test split is a function: nothing reads it by accident."""

    classes: tuple[str, ...]
    train: Callable[[], Images]
    test: Callable[[], Images]
    train_counts: Callable[[], list[int]]


def open_source(config: DataConfig) -> Source:
    """The data set that the configuration names. Reads file names at most, no image.

    Raises:
        DataError: folder or classes that are not there.
    """
    return SOURCES[config.name](config)


def _digits(config: DataConfig) -> Source:
    """scikit-learn's digits: 1,797 scans of 8x8, no official test split, so a fixed one is made.

    40 images of every class are the test split, by RandomState(0), whatever the seeds are.
    """
    names = tuple(str(digit) for digit in range(10))
    classes = config.classes or names
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise DataError(f"data.classes of digits are '0' to '9', got {', '.join(unknown)}")
    labels = [names.index(name) for name in classes]

    def load() -> tuple[Images, Images]:
        from sklearn.datasets import load_digits

        raw = load_digits()
        images = (raw.images[:, None] / 16.0).astype(np.float32)
        generator = np.random.RandomState(0)
        train, test = [], []
        for digit in range(10):
            members = generator.permutation(np.flatnonzero(raw.target == digit))
            test.append(np.sort(members[:_DIGITS_TEST_PER_CLASS]))
            train.append(np.sort(members[_DIGITS_TEST_PER_CLASS:]))
        return _pick(images, train, labels), _pick(images, test, labels)

    return Source(
        classes=tuple(classes),
        train=lambda: load()[0],
        test=lambda: load()[1],
        train_counts=lambda: np.bincount(load()[0].targets).tolist(),
    )


def _pick(images: NDArray[Any], members: list[NDArray[np.int64]], labels: list[int]) -> Images:
    """Images of the wanted classes, relabelled 0..K-1 in the wanted order."""
    indices = np.concatenate([members[label] for label in labels])
    targets = np.concatenate([np.full(len(members[old]), new) for new, old in enumerate(labels)])
    return Images(images[indices], targets.astype(np.int64))


def _image_folder(config: DataConfig) -> Source:
    """`root/train/<class>/*` and `root/test/<class>/*`; classes in the order that is given."""
    try:
        root = Path(config.root or "").expanduser()
    except RuntimeError:
        raise DataError(f"data.root names a home that does not exist, got {config.root}") from None
    folders = {split: root / split for split in ("train", "test")}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    if missing:
        raise DataError(
            f"data.root must hold train/ and test/ with one folder a class, but "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there"
        )
    found = sorted(p.name for p in folders["train"].iterdir() if p.is_dir())
    classes = config.classes or tuple(found)
    unknown = [name for name in classes if name not in found]
    if unknown:
        raise DataError(
            f"data.classes must be folders of {folders['train']}, but {', '.join(unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} not; there are: {', '.join(found)}"
        )
    if len(classes) < 2:
        raise DataError(f"{folders['train']} must hold two or more class folders, found {found}")

    def files(split: str, name: str) -> list[Path]:
        found = (folders[split] / name).glob("*")
        return sorted(path for path in found if path.suffix.lower() in _SUFFIXES)

    # Of test/ too, by its names: otherwise a study would end with an error it could start with.
    empty = [str(folders[s] / n) for s in folders for n in classes if not files(s, n)]
    if empty:
        raise DataError(
            f"every class folder must hold images, but these hold none: {', '.join(empty)}"
        )

    def load(split: str) -> Images:
        listed = [files(split, name) for name in classes]
        targets = np.repeat(np.arange(len(classes)), [len(paths) for paths in listed])
        images = _decode([path for paths in listed for path in paths], config.image_size)
        return Images(images, targets.astype(np.int64))

    return Source(
        classes=tuple(classes),
        train=lambda: load("train"),
        test=lambda: load("test"),
        train_counts=lambda: [len(files("train", name)) for name in classes],
    )


def _decode(paths: list[Path], size: int | None) -> NDArray[np.uint8]:
    """Reads files as RGB, (N, 3, H, W) uint8; lists all unreadable or odd-sized files at once."""
    from PIL import Image

    decoded: list[NDArray[np.uint8]] = []
    broken: list[str] = []
    for path in paths:
        try:
            with Image.open(path) as file:
                if file.mode.startswith(("I", "F")):  # Pillow would clip these to 255, all white
                    raise ValueError(f"more than 8 bits a channel ({file.mode}); save it with 8")
                image = file.convert("RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            decoded.append(np.asarray(image))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            broken.append(f"{path}: {type(error).__name__}: {error}")
    if broken:
        shown = "\n  ".join(broken[:20])
        more = f"\n  ... and {len(broken) - 20} more" if len(broken) > 20 else ""
        raise DataError(f"{len(broken)} of {len(paths)} images cannot be read:\n  {shown}{more}")
    shapes = Counter(image.shape[:2] for image in decoded)
    if len(shapes) > 1:
        common = ", ".join(f"{n} of {w}x{h}" for (h, w), n in shapes.most_common(4))
        raise DataError(
            f"images must all have one size, found {len(shapes)} sizes ({common}); "
            "set data.image_size to resize them"
        )
    return np.stack(decoded).transpose(0, 3, 1, 2).copy()


SOURCES: dict[str, Callable[[DataConfig], Source]] = {
    "digits": _digits,
    "image_folder": _image_folder,
}


def class_counts(config: TrialConfig) -> list[int]:
    """Training images of every class that this configuration would have, without reading pixels
    of an image folder.

    Raises:
        DataError: as `load_splits`.
    """
    source = open_source(config.data)
    held_out = 0 if config.data.val_source == "test" else config.data.val_per_class
    totals = source.train_counts()
    for label, total in enumerate(totals):
        if total <= held_out:
            raise DataError(
                f"class {source.classes[label]} has {total} training images, but "
                f"data.val_per_class sets {held_out} aside and at least one must remain; "
                "lower data.val_per_class"
            )
    return profile_counts(
        config.data.profile,
        [total - held_out for total in totals],
        imbalance_ratio=config.data.imbalance_ratio,
        max_per_class=config.data.max_per_class,
    )
