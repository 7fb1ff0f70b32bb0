"""Where images come from: a table of the data sets, and what can be known without pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ltat_tune.config.sections import DataConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data import tiny_imagenet, torchvision_sets
from ltat_tune.data.digits import digits
from ltat_tune.data.image_folder import image_folder
from ltat_tune.data.images import Images, Source, pick_classes
from ltat_tune.data.long_tail import after_hold_out, profile_counts

__all__ = [
    "SOURCES",
    "Images",
    "Source",
    "class_counts",
    "ensure_available",
    "is_available",
    "open_source",
]


class _Ensure(Protocol):
    def __call__(self, config: DataConfig, *, download: bool) -> None: ...


SOURCES: dict[str, Callable[[DataConfig], Source]] = {  # each with all its classes
    "digits": digits,
    "cifar10": torchvision_sets.cifar10,
    "cifar100": torchvision_sets.cifar100,
    "svhn": torchvision_sets.svhn,
    "tiny_imagenet": tiny_imagenet.tiny_imagenet,
    "image_folder": image_folder,  # with data.classes only: it may hold much that is not meant
}


_ENSURE: dict[str, _Ensure] = {
    **dict.fromkeys(("cifar10", "cifar100", "svhn"), torchvision_sets.ensure_torchvision_set),
    "tiny_imagenet": tiny_imagenet.ensure_tiny_imagenet,
}
_IS_THERE: dict[str, Callable[[DataConfig], bool]] = {
    **dict.fromkeys(("cifar10", "cifar100", "svhn"), torchvision_sets.has_torchvision_set),
    "tiny_imagenet": tiny_imagenet.has_tiny_imagenet,
}


def open_source(config: DataConfig) -> Source:
    """The data set and classes that the configuration names. Reads names at most, no image.

    Nothing is ever downloaded here: that is `ensure_available`.

    Raises:
        DataError: folder, files or classes that are not there.
    """
    return select_classes(SOURCES[config.name](config), config)


def select_classes(source: Source, config: DataConfig) -> Source:
    """The classes of `source` that the configuration names. Raises: DataError, if unknown."""
    return pick_classes(source, config.classes, where=config.name)


def ensure_available(config: DataConfig, *, download: bool = True) -> None:
    """Fetches official files that are not there yet: an archive that was put there, or a download.

    Nothing to do for digits and image_folder. Takes seconds where the files are there: they are
    checked.

    Args:
        download: False unpacks at most what somebody has put into the folder.

    Raises:
        DataError: which file is missing, where it is published, and where to put it.
    """
    ensure = _ENSURE.get(config.name)
    if ensure is not None:
        ensure(config, download=download)


def is_available(config: DataConfig) -> bool:
    """Whether the official files are there, by their names alone; True where there are none."""
    there = _IS_THERE.get(config.name)
    return there is None or there(config)


def class_counts(config: TrialConfig) -> list[int]:
    """Training images of every class that this configuration would have, without reading pixels.

    Raises:
        DataError: as `load_splits`.
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
