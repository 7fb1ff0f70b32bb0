"""Names of evaluation attacks."""

from __future__ import annotations

import pytest

from ltat_tune.config.attack_names import (
    AttackName,
    is_attack,
    is_validation_attack,
    read_name,
    with_steps,
)
from ltat_tune.config.parameters import PARAMETERS


@pytest.mark.parametrize("name", ["clean", "fgsm", "pgd1", "pgd20", "cw100", "adaptive20"])
def test_these_may_attack_any_split(name: str) -> None:
    assert is_attack(name) and is_validation_attack(name)


@pytest.mark.parametrize(
    "name", ["aa", "square", "mim20", "cwl2", "cwl2_fixed", "pgd20x5", "cw100x2", "adaptive20x10"]
)
def test_these_are_for_the_end_only(name: str) -> None:
    assert is_attack(name) and not is_validation_attack(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "pgd", "pgd0", "pgd020", "cw", "PGD20", "pgd20 ", "mim", "fgsm20", "aax2", "squarex2",
        "pgd20x", "pgd20x0", "pgd20x1", "pgd20x02", "cwl2x2", "cwl2_", "cwl3",
    ],
)  # fmt: skip
def test_these_are_no_attacks(name: str) -> None:
    assert not is_attack(name) and not is_validation_attack(name)
    assert read_name(name) is None


def test_a_transfer_is_in_the_grammar_but_no_attack_by_itself() -> None:
    assert read_name("transfer20x3") == AttackName("transfer", 20, 3)
    assert not is_attack("transfer20") and not is_validation_attack("transfer20")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pgd20", AttackName("pgd", 20)),
        ("mim10x12", AttackName("mim", 10, 12)),
        ("cwl2_fixed", AttackName("cwl2_fixed")),
        ("cw2", AttackName("cw", 2)),
        ("cwl2", AttackName("cwl2")),
    ],
)
def test_names_are_read_and_written_alike(name: str, parts: AttackName) -> None:
    assert read_name(name) == parts and str(parts) == name


@pytest.mark.parametrize(
    "name", ["clean", "fgsm", "pgd7", "cw7", "adaptive7", "aa", "pgd0", "pgd", "mim7", "pgd7x2"]
)
def test_the_configuration_accepts_the_same_validation_attacks(name: str) -> None:
    broken = PARAMETERS["evaluation.val_attack"].check(name)[1]
    assert (broken is None) == is_validation_attack(name)


@pytest.mark.parametrize(
    ("name", "shorter"),
    [
        ("pgd20", "pgd2"), ("cw100", "cw2"), ("mim20x5", "mim2x5"), ("transfer20", "transfer2"),
        ("clean", "clean"), ("aa", "aa"), ("fgsm", "fgsm"), ("cwl2", "cwl2"),
    ],
)  # fmt: skip
def test_steps_are_replaced_where_there_are_any(name: str, shorter: str) -> None:
    assert with_steps(name, 2) == shorter


def test_steps_of_what_is_no_attack_cannot_be_replaced() -> None:
    with pytest.raises(
        ValueError, match="unknown attack 'pgd0'; did you mean pgd20. Choose from: cl"
    ):
        with_steps("pgd0", 2)
