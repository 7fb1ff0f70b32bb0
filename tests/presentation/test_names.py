"""Names of configurations, data and attacks in pictures."""

from __future__ import annotations

from typing import Literal, get_args

import pytest

from ltat_tune.config.sections import DataConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.names import (
    attack_name,
    counts_in_words,
    data_name,
    images_in_words,
    labels,
    problem_name,
    problem_names,
    ratio_in_words,
    reached_ratio,
)

_SRAT = {"method.name": "srat", "reweight.name": "under_represented"}


def test_alike_configurations_get_the_settings_in_which_they_differ() -> None:
    configs = [TrialConfig.from_flat({**_SRAT, "reweight.under_weight": w}) for w in (10, 200)]
    reat = TrialConfig.from_flat({"method.name": "reat"})
    assert labels([*configs, reat]) == [
        "SRAT-CE, weight 10 on under-represented classes",
        "SRAT-CE, weight 200 on under-represented classes",
        "REAT",
    ]


def test_as_many_settings_are_named_as_tell_all_apart_and_none_that_does_not_act() -> None:
    rows = [
        {"method.separation_weight": 1, "reweight.name": "class_balanced"},
        {"method.separation_weight": 1, "reweight.name": "under_represented"},
        {"method.separation_weight": 4, "reweight.name": "class_balanced", "optim.lr": 0.05},
    ]
    configs = [TrialConfig.from_flat({"method.name": "srat", **row}) for row in rows]
    assert labels(configs) == [
        "SRAT-CE, λ = 1, class-balanced weights",
        "SRAT-CE, λ = 1, weighted under-represented classes",
        "SRAT-CE, λ = 4, class-balanced weights",
    ]


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        ("clean", "clean"), ("pgd20", "PGD-20"), ("pgd20x5", "PGD-20 (5 starts)"),
        ("cw100", "CW-100"), ("fgsm", "FGSM"), ("aa", "AutoAttack"), ("square", "Square"),
        ("adaptive20", "adaptive PGD-20"), ("cwl2", "C&W (L2)"),
    ],
)  # fmt: skip
def test_attacks_have_the_names_of_the_papers(attack: str, name: str) -> None:
    assert attack_name(attack) == name


def test_a_folder_of_images_has_the_name_of_the_folder() -> None:
    data = DataConfig(name="image_folder", root="/somewhere/animals", profile="step")
    assert data_name(data) == "animals Step-50"


def test_several_data_sets_are_named_by_imbalance_ratio() -> None:
    counts = {100: [480, 4], 5: [480, 96], 25: [500, 20]}
    data = [
        (DataConfig(name="cifar10", profile="step", imbalance_ratio=k), counts[k])
        for k in (100, 5, 25)
    ]
    bare = [(one, list[int]()) for one, _ in data]
    assert problem_names(bare) == "CIFAR-10 Step-5 to Step-100"
    assert problem_names(bare[:2]) == "CIFAR-10 Step-5 and CIFAR-10 Step-100"
    assert problem_names(data) == "CIFAR-10 Step-5 to Step-100 (120 reached)"


@pytest.mark.parametrize(
    ("profile", "requested", "counts", "words"),
    [
        ("exp", 50, [500, 70, 10], "50"),
        ("exp", 50, [480, 67, 9], "50 (53.33 reached)"),  # 480 / 50 = 9.6, so 9
        ("step", 100, [480, 480, 4, 4], "100 (120 reached)"),  # 480 / 100 = 4.8, so 4
        ("linear", 2, [5, 4, 3], "2 (1.667 reached)"),
        ("exp", 2, [125, 62], "2"),  # 2.016 is rounding
        ("given", 50, [9, 30, 10], "3.333"),
        ("balanced", 50, [20, 20, 20], "1"),
    ],
)
def test_the_ratio_that_counts_reach_stands_beside_the_requested_one_where_they_differ(
    profile: Literal["exp", "step", "linear", "given", "balanced"],
    requested: float,
    counts: list[int],
    words: str,
) -> None:
    data = DataConfig(profile=profile, imbalance_ratio=requested)
    assert ratio_in_words(data, counts) == words


def test_a_class_without_images_counts_as_one_image() -> None:
    assert reached_ratio([8, 4, 0]) == 8


def test_a_name_of_data_has_the_ratio_that_its_counts_reach() -> None:
    data = DataConfig(name="cifar100", profile="exp", imbalance_ratio=50)
    assert data_name(data, [480, 9]) == "CIFAR-100-LT (UR=50; 53.33 reached)"
    assert problem_name(data, [480, 9]) == "CIFAR-100 Exp-50 (53.33 reached)"
    assert problem_name(data, [500, 10]) == problem_name(data) == "CIFAR-100 Exp-50"
    step = DataConfig(name="cifar100", profile="step", imbalance_ratio=100)
    assert data_name(step, [480, 4]) == "CIFAR-100 Step-100 (120 reached)"


def test_counts_stand_beside_the_names_of_their_classes() -> None:
    assert counts_in_words([480, 9], ["cat", "dog"]) == "cat (480), dog (9)"
    assert counts_in_words([480, 9], None) == "480, 9"
    many = [f"c{i}" for i in range(21)]
    assert counts_in_words([7, *range(30, 10, -1)], many) == "from c1 (30) to c0 (7), 21 classes"
    assert images_in_words([480, 9], ["cat", "dog"]) == (
        "489 training images, imbalance ratio 53.33, by class: cat (480), dog (9)"
    )


def test_every_source_of_validation_images_has_words_in_card_and_report() -> None:
    from ltat_tune.export import card
    from ltat_tune.report import record

    sources = set(get_args(DataConfig.model_fields["val_source"].annotation))
    assert set(card._SOURCES) == set(record._VALIDATION) == sources
