"""scikit-learn's digits: real scans inside its package, so a study needs no download."""

from __future__ import annotations

import functools

import numpy as np

from ltat_tune.config import DataConfig
from ltat_tune.data.images import Images, Source

TEST_PER_CLASS = 40


def digits(config: DataConfig) -> Source:
    """1,797 scans of 8x8 in float32. There is no official test split, so a fixed one is made.

    40 images of every class are the test split, by RandomState(0), whatever the seeds are.
    """

    @functools.cache
    def load() -> tuple[Images, Images]:
        from sklearn.datasets import load_digits

        raw = load_digits()
        images = (raw.images[:, None] / 16.0).astype(np.float32)
        generator = np.random.RandomState(0)
        train, test = [], []
        for digit in range(10):
            members = generator.permutation(np.flatnonzero(raw.target == digit))
            test.append(np.sort(members[:TEST_PER_CLASS]))
            train.append(np.sort(members[TEST_PER_CLASS:]))
        chosen_train, chosen_test = np.concatenate(train), np.concatenate(test)
        return (
            Images(images[chosen_train], raw.target[chosen_train].astype(np.int64)),
            Images(images[chosen_test], raw.target[chosen_test].astype(np.int64)),
        )

    return Source(
        classes=tuple(str(digit) for digit in range(10)),
        train=lambda: load()[0],
        test=lambda: load()[1],
        train_counts=lambda: np.bincount(load()[0].targets).tolist(),
    )
