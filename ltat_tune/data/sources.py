"""The table of data sets, and functions that need no pixels: availability and class counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ltat_tune.config.sections import DataConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data import tiny_imagenet, torchvision_sets
from ltat_tune.data.digits import digits
from ltat_tune.data.image_folder import image_folder
from ltat_tune.data.images import Images, Source, pick_classes, resized
from ltat_tune.data.long_tail import after_hold_out, profile_counts
from ltat_tune.data.own_files.file_list import listed_images
from ltat_tune.data.own_files.index_files import at_indices
from ltat_tune.data.own_files.mnist_files import ensure_mnist, has_mnist, mnist
from ltat_tune.data.own_files.npz_file import npz
from ltat_tune.errors import DataError

__all__ = [
    "SOURCES",
    "Images",
    "Source",
    "class_counts",
    "ensure_available",
    "is_available",
    "open_source",
    "whole_source",
]


class _Ensure(Protocol):
    def __call__(self, config: DataConfig, *, download: bool) -> None: ...


SOURCES: dict[str, Callable[[DataConfig], Source]] = {  # with all classes
    "digits": digits,
    "cifar10": torchvision_sets.cifar10,
    "cifar100": torchvision_sets.cifar100,
    "svhn": torchvision_sets.svhn,
    "tiny_imagenet": tiny_imagenet.tiny_imagenet,
    "mnist": mnist,
    "fashion_mnist": mnist,
    "image_folder": image_folder,  # with data.classes only, as a folder may hold other things
    "npz": npz,
    "csv": listed_images,
}


_ENSURE: dict[str, _Ensure] = {
    **dict.fromkeys(("cifar10", "cifar100", "svhn"), torchvision_sets.ensure_torchvision_set),
    "tiny_imagenet": tiny_imagenet.ensure_tiny_imagenet,
    **dict.fromkeys(("mnist", "fashion_mnist"), ensure_mnist),
}
_IS_AVAILABLE: dict[str, Callable[[DataConfig], bool]] = {
    **dict.fromkeys(("cifar10", "cifar100", "svhn"), torchvision_sets.has_torchvision_set),
    "tiny_imagenet": tiny_imagenet.has_tiny_imagenet,
    **dict.fromkeys(("mnist", "fashion_mnist"), has_mnist),
}


def open_source(config: DataConfig) -> Source:
    """Open the data set and choose the images that the configuration names, without reading any.

    This function downloads nothing; `ensure_available` does.

    Raises:
        DataError: the folder, files or classes are missing.
    """
    return select_images(whole_source(config), config)


def whole_source(config: DataConfig) -> Source:
    """Open the data set with all its classes, its images resized to `data.image_size`.

    Raises:
        DataError: the folder or files are missing.
    """
    source = SOURCES[config.name](config)
    if config.image_size is None:
        return source

    def sized(split: str, load: Callable[[], Images]) -> Callable[[], Images]:
        def read() -> Images:
            data = load()
            return replace(data, images=resized(data.images, config.image_size))

        return read

    return source.with_splits(sized)


def select_images(source: Source, config: DataConfig) -> Source:
    """Return the images of `data.indices` in the classes of `data.classes`.

    Raises:
        DataError: a class is unknown, a file of indices cannot be used, or there are no
            validation images though data.val_source says that the data set gives some.
    """
    chosen = pick_classes(at_indices(source, config), config.classes, where=config.name)
    if config.val_source == "given" and chosen.val is None:
        raise DataError(
            "data.val_source given takes the data set's own validation images, but "
            f"{config.name} has none; use train, or name some by data.indices"
        )
    return chosen


def ensure_available(config: DataConfig, *, download: bool = True) -> None:
    """Fetch missing official files, from an archive in the folder or by a download.

    There is nothing to do for digits and for the user's own files. If the files are present, the
    call takes a few seconds to check them.

    Args:
        config: the data set.
        download: False only unpacks archives that the user has put into the folder.

    Raises:
        DataError: a file is missing. The error says where it is published and where to put it.
    """
    ensure = _ENSURE.get(config.name)
    if ensure is not None:
        ensure(config, download=download)


def is_available(config: DataConfig) -> bool:
    """Return whether the official files exist, by name; True for a data set without such files."""
    check = _IS_AVAILABLE.get(config.name)
    return check is None or check(config)


def class_counts(config: TrialConfig) -> list[int]:
    """Return the number of training images of every class, (K,), without reading pixels.

    Raises:
        DataError: see `load_splits`.
    """
    source, data = open_source(config.data), config.data
    held_out = data.val_per_class if data.val_source == "train" else 0
    return profile_counts(
        data.profile,
        after_hold_out(source.train_counts(), held_out, names=source.classes),
        imbalance_ratio=data.imbalance_ratio,
        max_per_class=data.max_per_class,
        counts=data.counts,
        base=data.base,
        rounding=data.rounding,
        names=source.classes,
    )
