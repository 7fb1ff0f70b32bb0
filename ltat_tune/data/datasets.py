"""The splits of a trial: the long-tailed training subset, the validation and the test images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.cache import open_cached
from ltat_tune.data.images import Images
from ltat_tune.data.long_tail import cut
from ltat_tune.errors import DataError


@dataclass(frozen=True)
class LabelledImages:
    """Images (N, C, H, W), uint8 or float32 in [0, 1], and targets (N,) on one device."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return self.targets.shape[0]

    def to(self, device: torch.device | str) -> LabelledImages:
        """Return the same images on another device."""
        return LabelledImages(self.images.to(device), self.targets.to(device))

    def class_balanced_part(self, images: int | None, *, seed: int) -> LabelledImages:
        """Return at most `images` images, the same number of every class; None returns all.

        Raises:
            DataError: as `class_balanced_places`.
        """
        if images is None or images >= len(self):
            return self
        return self.at(self.class_balanced_places(images, seed=seed))

    def at(self, places: Tensor) -> LabelledImages:
        """Return the images at these places, (N,) int64."""
        return LabelledImages(self.images[places], self.targets[places])

    def class_balanced_places(
        self, images: int | None, *, seed: int, at_most: bool = False
    ) -> Tensor:
        """Return the places of at most `images` images, the same number of every class.

        A smaller part lies inside every larger one. Places ascend within a class, and are on the
        device of the targets, (N,) int64.

        Args:
            images: the most images in the part; None, or as many as there are, is all of them.
            seed: seed of the choice.
            at_most: whether a class that has too few images gives all it has, and classes beyond
                `images` give none.

        Raises:
            DataError: without `at_most`, `images` is below the number of classes, or a class has
                too few images.
        """
        if images is None or images >= len(self):
            return torch.arange(len(self), device=self.targets.device)
        targets = self.targets.cpu().numpy()
        present = np.unique(targets)
        labels = present if at_most else np.arange(targets.max() + 1)
        per_class = images // len(labels)
        if per_class == 0 and not at_most:
            raise DataError(
                f"a part of {images} images cannot hold one of each of the {len(labels)} classes"
            )
        generator = np.random.RandomState(seed)
        chosen = []
        for label in labels:
            members = np.flatnonzero(targets == label)
            if len(members) < per_class and not at_most:
                raise DataError(
                    f"class {label} must have at least {per_class} images, got {len(members)}"
                )
            chosen.append(np.sort(generator.permutation(members)[: max(1, per_class)]))
        if per_class == 0:
            some = np.sort(generator.permutation(len(labels))[:images])
            chosen = [chosen[number] for number in some]
        return torch.from_numpy(np.concatenate(chosen)).to(self.targets.device)


@dataclass(frozen=True)
class Splits:
    """The images of a trial. The test images are read only when `test()` is called."""

    train: LabelledImages
    val: LabelledImages
    test: Callable[[], LabelledImages]
    classes: tuple[str, ...]
    subset_hash: str  # of all training and validation images and labels

    @property
    def samples_per_class(self) -> Tensor:
        """Training images of every class, (K,) int64."""
        return torch.bincount(self.train.targets, minlength=len(self.classes))


def load_splits(config: TrialConfig, *, cache_dir: Path | None = None) -> Splits:
    """Read the data set, hold out validation images, then cut the long tail.

    Raises:
        DataError: images are missing, unreadable or too few. The error names a remedy.
    """
    data, seeds = config.data, config.seeds
    source = open_cached(data, cache_dir)
    official = source.train()
    chosen = cut(
        official.targets,
        profile=data.profile,
        imbalance_ratio=data.imbalance_ratio,
        max_per_class=data.max_per_class,
        val_per_class=data.val_per_class if data.val_source == "train" else 0,
        subset_seed=seeds.seed if seeds.subset_seed is None else seeds.subset_seed,
        counts=data.counts,
        base=data.base,
        rounding=data.rounding,
        names=source.classes,
    )
    train = _take(official, chosen.train)
    if data.val_source == "train":
        val = _take(official, chosen.val)
    elif data.val_source in ("folder", "given") and source.val is not None:
        val = _everything(source.val())
    else:
        val = _everything(source.test())
    return Splits(
        train=train,
        val=val,
        test=lambda: _everything(source.test()),
        classes=source.classes,
        subset_hash=_hash(train, val),
    )


def _take(data: Images, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> LabelledImages:
    images = torch.from_numpy(np.ascontiguousarray(data.images[indices]))
    return LabelledImages(images, torch.from_numpy(data.targets[indices]))


def _everything(data: Images) -> LabelledImages:
    return _take(data, np.arange(len(data.targets)))


def _hash(*splits: LabelledImages) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.numpy().tobytes())
        digest.update(split.targets.numpy().tobytes())
    return digest.hexdigest()[:16]
