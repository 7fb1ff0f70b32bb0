"""CIFAR-10, CIFAR-100 and SVHN. torchvision checks and reads the official files."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.downloads import Download, fetch, has_md5, how_to_get, official_root, require
from ltat_tune.data.images import Images, Source
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import DataError

_CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
_CIFAR100_CLASSES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab
    crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
)
# Repeated from torchvision, because importing it takes seconds and a check for files must not.
_CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
_CIFAR_FILES = {
    "cifar10": {
        "train": [f"data_batch_{number}" for number in range(1, 6)],
        "test": ["test_batch"],
        "meta": ["batches.meta"],
    },
    "cifar100": {"train": ["train"], "test": ["test"], "meta": ["meta"]},
}
_CIFAR_DOWNLOAD_BYTES = {"cifar10": 170_498_071, "cifar100": 169_001_437}
_SVHN_DOWNLOAD_BYTES = {"train": 182_040_794, "test": 64_275_384}


def cifar10(config: DataConfig) -> Source:
    """Open 50,000 training and 10,000 test images of 32x32 in 10 classes of equal size."""
    return _cifar(config, _CIFAR10_CLASSES, per_class=5000)


def cifar100(config: DataConfig) -> Source:
    """Open 50,000 training and 10,000 test images of 32x32 in 100 classes of equal size."""
    return _cifar(config, _CIFAR100_CLASSES, per_class=500)


def svhn(config: DataConfig) -> Source:
    """Open 73,257 training and 26,032 test images of 32x32 in 10 classes of unequal size."""

    def files(split: str) -> list[Path]:
        return [official_root(config) / f"{split}_32x32.mat"]

    def load(split: str) -> Images:
        dataset = _read(config, files(split), "SVHN", split=split)
        return Images(np.ascontiguousarray(dataset.data), dataset.labels.astype(np.int64))

    def train_counts() -> list[int]:
        """Count the digits in the file, because they are not equally frequent."""
        _there(config, files("train"))
        loadmat = importlib.import_module("scipy.io").loadmat  # torchvision uses it too
        try:
            labels: Any = loadmat(files("train")[0], variable_names=["y"])["y"].ravel()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(config, files("train"), error) from error
        counts: list[int] = np.bincount(labels.astype(np.int64) % 10, minlength=10).tolist()
        return counts  # the files label a zero as 10

    return Source(
        classes=tuple(str(digit) for digit in range(10)),
        train=lambda: load("train"),
        test=lambda: load("test"),
        train_counts=train_counts,
        files=lambda split: _there(config, files(split)),
    )


def _cifar(config: DataConfig, classes: tuple[str, ...], *, per_class: int) -> Source:
    def load(split: str) -> Images:
        name = config.name.upper()
        dataset = _read(config, files_of(config), name, train=split == "train")
        if tuple(dataset.classes) != classes:
            raise DataError(
                f"the class names in {official_root(config) / _CIFAR_FOLDERS[config.name]} are "
                f"not those of {config.name}; {_to_mend(config)}"
            )
        images = np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))
        return Images(images, np.asarray(dataset.targets, dtype=np.int64))

    def files(split: str) -> list[Path]:
        folder = official_root(config) / _CIFAR_FOLDERS[config.name]
        names = _CIFAR_FILES[config.name]
        return _there(config, [folder / name for name in (*names[split], *names["meta"])])

    return Source(
        classes=classes,
        train=lambda: load("train"),
        test=lambda: load("test"),
        train_counts=lambda: [per_class] * len(classes),
        files=files,
    )


def files_of(config: DataConfig) -> list[Path]:
    """Return all official files of a data set that torchvision reads."""
    root = official_root(config)
    if config.name == "svhn":
        return [root / f"{split}_32x32.mat" for split in ("train", "test")]
    names = _CIFAR_FILES[config.name].values()
    return [root / _CIFAR_FOLDERS[config.name] / name for listed in names for name in listed]


def has_torchvision_set(config: DataConfig) -> bool:
    """Return whether the official files exist, by their names alone."""
    return all(path.is_file() for path in files_of(config))


def ensure_torchvision_set(config: DataConfig, *, download: bool) -> None:
    """Fetch and unpack the official files, unless they exist with the right MD5.

    Raises:
        DataError: files are missing and cannot be fetched. The error says what to put where.
    """
    if not _wrong(config):
        return
    root = official_root(config)
    fetch(config, _downloads(config), download=download, unpack_to=root)
    wrong = _wrong(config)
    if wrong:
        raise DataError(f"{_names(wrong)} not as published (MD5), even after unpacking again")


def _there(config: DataConfig, paths: list[Path]) -> list[Path]:
    if not all(path.is_file() for path in paths):  # otherwise torchvision need not be imported
        require(config, paths, _downloads(config))
    return paths


def _read(config: DataConfig, paths: list[Path], name: str, **split: Any) -> Any:
    """Read a data set by torchvision, which checks every MD5 first."""
    _there(config, paths)
    build: Callable[..., Any] = getattr(import_torchvision("datasets"), name)
    with warnings.catch_warnings():
        # The published pickles come from a NumPy of 2009, and today's NumPy warns about that.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        try:
            return build(official_root(config), **split)
        except Exception as error:  # unpickling and scipy raise many errors on torn files
            raise _broken(config, paths, error) from error


def _broken(config: DataConfig, paths: list[Path], error: Exception) -> DataError:
    wrong = [path for path in _wrong(config) if path in paths]
    if wrong:
        return DataError(f"{_names(wrong)} not as published (MD5); {_to_mend(config)}")
    return DataError(f"{config.name} cannot be read ({type(error).__name__}: {error})")


def _to_mend(config: DataConfig) -> str:
    return f"delete the files and {how_to_get(config, _downloads(config))}"


def _names(paths: list[Path]) -> str:
    return f"{paths[0]} is" if len(paths) == 1 else f"{', '.join(map(str, paths))} are"


def _wrong(config: DataConfig) -> list[Path]:
    """Return the official files that are missing or whose MD5 differs from torchvision's table."""
    return [path for path, md5 in zip(files_of(config), _md5s(config), strict=True)
            if not has_md5(path, md5)]  # fmt: skip


def _md5s(config: DataConfig) -> list[str]:
    """Return the MD5 hashes in the order of `files_of`."""
    datasets = import_torchvision("datasets")
    if config.name == "svhn":
        return [datasets.SVHN.split_list[split][2] for split in ("train", "test")]
    dataset = getattr(datasets, config.name.upper())
    by_name = dict(dataset.train_list + dataset.test_list)
    by_name[dataset.meta["filename"]] = dataset.meta["md5"]
    return [by_name[path.name] for path in files_of(config)]


def _downloads(config: DataConfig) -> list[Download]:
    datasets = import_torchvision("datasets")
    if config.name == "svhn":
        files = []
        for split, size in _SVHN_DOWNLOAD_BYTES.items():
            url, name, md5 = datasets.SVHN.split_list[split]
            files.append(Download(url, name, md5, size))
        return files
    dataset = getattr(datasets, config.name.upper())
    size = _CIFAR_DOWNLOAD_BYTES[config.name]
    return [Download(dataset.url, dataset.filename, dataset.tgz_md5, size)]
