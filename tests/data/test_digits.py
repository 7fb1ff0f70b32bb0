"""scikit-learn's digits as a data set with a test split."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.sources import open_source


def test_digits_are_1797_images_of_which_40_of_each_class_test() -> None:
    source = open_source(DataConfig())
    train, test = source.train(), source.test()
    assert source.classes == tuple("0123456789")
    assert len(train.targets) + len(test.targets) == 1797
    assert np.bincount(test.targets).tolist() == [40] * 10
    assert source.train_counts() == np.bincount(train.targets).tolist()
    # load_digits has 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 scans of 0 to 9
    assert source.train_counts() == [138, 142, 137, 143, 141, 142, 141, 139, 134, 140]


def test_digits_are_the_scans_in_0_to_1_each_once() -> None:
    source = open_source(DataConfig())
    images = np.concatenate([source.train().images, source.test().images])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    published = (load_digits().images / 16).astype(np.float32)
    assert sorted(i.tobytes() for i in images) == sorted(i.tobytes() for i in published)


def test_reading_them_does_not_import_scikit_learn_which_takes_seconds() -> None:
    code = (
        "import sys; from ltat_tune.config.sections import DataConfig; "
        "from ltat_tune.data.sources import open_source; "
        "open_source(DataConfig()).test(); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_test_digits_are_always_the_same() -> None:
    first, again = (open_source(DataConfig()).test() for _ in range(2))
    assert np.array_equal(first.images, again.images)
