"""MNIST and Fashion-MNIST, from the four published files or from Debian's package."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.downloads import Download, fetch, has_md5, how_to_get, official_root
from ltat_tune.data.images import Images, Source
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import DataError

_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
_CLASSES = {"mnist": _DIGITS, "fashion_mnist": _CLOTHES}
_IN_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
_PACKAGES = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}  # dataset-fashion-mnist
_BYTES = {
    "mnist": (9_912_422, 28_881, 1_648_877, 4_542),
    "fashion_mnist": (26_421_880, 29_515, 4_422_102, 5_148),
}
_STEMS = {"train": "train", "test": "t10k"}
_NUMBERS = {"train": 60_000, "test": 10_000}
_SIDE = 28


def mnist(config: DataConfig) -> Source:
    """Open 60,000 training and 10,000 test images of 28x28 in 10 classes, grey.

    The files lie in data.root, in the folder below it where torchvision puts them, or where
    Debian's package dataset-fashion-mnist installs them.

    Raises:
        DataError: a file is missing or damaged.
    """

    def load(split: str) -> Images:
        images, labels = mnist_paths(config, split)
        pixels = _values(config, images, (_NUMBERS[split], _SIDE, _SIDE))
        targets = _values(config, labels, (_NUMBERS[split],)).astype(np.int64)
        return Images(pixels[:, None], targets)

    def train_counts() -> list[int]:
        labels = _values(config, mnist_paths(config, "train")[1], (_NUMBERS["train"],))
        return [int(count) for count in np.bincount(labels, minlength=10)]

    return Source(
        classes=_CLASSES[config.name],
        train=lambda: load("train"),
        test=lambda: load("test"),
        train_counts=train_counts,
        files=lambda split: list(mnist_paths(config, split)),
    )


def mnist_paths(config: DataConfig, split: str) -> tuple[Path, Path]:
    """Return the files of images and of labels of a split. Raise DataError if one is missing."""
    names = [f"{_STEMS[split]}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1")]
    for folder in _folders(config):
        if all((folder / name).is_file() for name in names):
            return folder / names[0], folder / names[1]
    raise DataError(f"{official_root(_into(config)) / names[0]} is missing; {_to_get(config)}")


def has_mnist(config: DataConfig) -> bool:
    """Return whether the files exist, by their names alone."""
    try:
        return all(mnist_paths(config, split) for split in _STEMS)
    except DataError:
        return False


def ensure_mnist(config: DataConfig, *, download: bool) -> None:
    """Fetch the published files, unless they exist. Debian's copies have other hashes.

    Raises:
        DataError: files are missing and cannot be fetched, or are not the published ones.
    """
    if not has_mnist(config):
        place = _into(config)
        fetch(place, _downloads(config), download=download, unpack_to=official_root(place))
    own = {path for split in _STEMS for path in mnist_paths(config, split)}
    if _PACKAGES.get(config.name) in {path.parent for path in own}:
        return
    md5s = {file.name: file.md5 for file in _downloads(config)}
    wrong = [str(path) for path in sorted(own) if not has_md5(path, md5s[path.name])]
    if wrong:
        raise DataError(f"{', '.join(wrong)} must be as published (MD5); delete what is not and "
                        f"{_to_get(config)}")  # fmt: skip


def _into(config: DataConfig) -> DataConfig:
    """Return the data set with the folder of downloads, since both have files of these names."""
    folder = official_root(config) / _IN_TORCHVISION[config.name] / "raw"
    return config.model_copy(update={"root": str(folder)})


def _folders(config: DataConfig) -> list[Path]:
    package = _PACKAGES.get(config.name)
    below = official_root(_into(config))
    return [official_root(config), below, *([package] if package else [])]


def _to_get(config: DataConfig) -> str:
    package = ", or install Debian's package dataset-fashion-mnist"
    remedy = how_to_get(_into(config), _downloads(config))
    return remedy + (package if config.name in _PACKAGES else "")


def _downloads(config: DataConfig) -> list[Download]:
    table = getattr(import_torchvision("datasets"), _IN_TORCHVISION[config.name])
    return [
        Download(table.mirrors[0] + name, name, md5, size)
        for (name, md5), size in zip(table.resources, _BYTES[config.name], strict=True)
    ]


def _values(config: DataConfig, path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the bytes of an IDX file in this shape.

    The file begins with two zeros, 8 for bytes, the number of axes, and the length of each axis
    as four bytes, big end first.

    Raises:
        DataError: it is torn, or holds something else.
    """
    header = bytes((0, 0, 8, len(shape))) + np.array(shape, dtype=">u4").tobytes()
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); delete it and "
            f"{_to_get(config)}"
        ) from error
    if content[: len(header)] != header or len(content) != len(header) + int(np.prod(shape)):
        raise DataError(
            f"{path} must hold {' x '.join(map(str, shape))} bytes in the IDX format, and does "
            f"not; delete it and {_to_get(config)}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
