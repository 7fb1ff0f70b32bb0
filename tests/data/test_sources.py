"""Every data set opens by its name, with the classes that are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.sources import SOURCES, open_source
from ltat_tune.errors import DataError


def _error(config: DataConfig) -> str:
    """What opening or reading complains about."""
    with pytest.raises(DataError) as caught:
        source = open_source(config)
        source.train()
    return str(caught.value)


def test_every_name_of_the_configuration_has_a_source() -> None:
    names = DataConfig.model_json_schema()["properties"]["name"]["enum"]
    assert list(SOURCES) == names


def test_some_digits_are_relabelled_in_the_order_that_is_asked_for() -> None:
    everything = open_source(DataConfig()).train()
    some = open_source(DataConfig(classes=("7", "0", "3")))
    assert some.classes == ("7", "0", "3")
    assert some.train_counts() == [139, 138, 143]
    for new, digit in enumerate((7, 0, 3)):
        mine = some.train().images[some.train().targets == new]
        assert np.array_equal(mine, everything.images[everything.targets == digit])
    assert np.bincount(some.test().targets).tolist() == [40, 40, 40]


def test_unknown_digits_are_all_named() -> None:
    text = _error(DataConfig(classes=("1", "ten", "cat")))
    assert text == (
        "data.classes must be classes of digits, but ten, cat are not; "
        "choose from: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )


def test_unknown_classes_come_with_the_nearest_names_and_at_most_20_others() -> None:
    text = _error(DataConfig(name="cifar100", classes=("mapletree", "qqq", "whales")))
    assert text.startswith(
        "data.classes must be classes of cifar100, but mapletree, qqq, whales are not; "
        "did you mean maple_tree, whale? Choose from: apple, aquarium_fish, "
    )
    assert text.endswith(", cattle, ...")
