"""scikit-learn's digits: real scans inside the package, so a study needs no download."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.images import Images, Source
from ltat_tune.errors import DataError

TEST_PER_CLASS = 40


def digits(config: DataConfig) -> Source:
    """Open 1,797 scans of 8x8 pixels in float32, with a fixed test split.

    The data set has no official test split. RandomState(0) chooses 40 images of every class for
    it, whatever the seeds of the trial are.
    """

    return Source(
        classes=tuple(str(digit) for digit in range(10)),
        train=lambda: _splits()[0],
        test=lambda: _splits()[1],
        train_counts=lambda: np.bincount(_splits()[0].targets).tolist(),
    )


@functools.cache
def _splits() -> tuple[Images, Images]:
    """Return the training images and the test images."""
    pixels, targets = _scans()
    images = (pixels.reshape(-1, 1, 8, 8) / 16.0).astype(np.float32)
    generator = np.random.RandomState(0)
    train, test = [], []
    for digit in range(10):
        members = generator.permutation(np.flatnonzero(targets == digit))
        test.append(np.sort(members[:TEST_PER_CLASS]))
        train.append(np.sort(members[TEST_PER_CLASS:]))
    chosen_train, chosen_test = np.concatenate(train), np.concatenate(test)
    return (
        Images(images[chosen_train], targets[chosen_train]),
        Images(images[chosen_test], targets[chosen_test]),
    )


def _scans() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return pixels (1797, 64) in 0..16 and classes, as `sklearn.datasets.load_digits` does.

    The file is read directly, because importing scikit-learn would cost every command on digits
    several seconds.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError(
            "the digits are part of scikit-learn, which is not installed; run "
            "`pip install scikit-learn`"
        )
    folder = Path(package.submodule_search_locations[0])
    table = np.loadtxt(folder / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :64], table[:, 64].astype(np.int64)
