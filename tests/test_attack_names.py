"""Names of evaluation attacks."""

from __future__ import annotations

import pytest

from ltat_tune.attack_names import is_attack, is_validation_attack, with_steps
from ltat_tune.parameters import PARAMETERS


@pytest.mark.parametrize("name", ["clean", "pgd1", "pgd20", "cw100"])
def test_these_may_attack_any_split(name: str) -> None:
    assert is_attack(name) and is_validation_attack(name)


@pytest.mark.parametrize("name", ["", "pgd", "pgd0", "pgd020", "cw", "PGD20", "pgd20 ", "fgsm"])
def test_these_are_no_attacks(name: str) -> None:
    assert not is_attack(name) and not is_validation_attack(name)


def test_autoattack_is_for_the_end_only() -> None:
    assert is_attack("aa") and not is_validation_attack("aa")


@pytest.mark.parametrize("name", ["clean", "pgd7", "cw7", "aa", "pgd0", "pgd", "fgsm"])
def test_the_configuration_accepts_the_same_validation_attacks(name: str) -> None:
    broken = PARAMETERS["evaluation.val_attack"].check(name)[1]
    assert (broken is None) == is_validation_attack(name)


@pytest.mark.parametrize(
    ("name", "shorter"), [("pgd20", "pgd2"), ("cw100", "cw2"), ("clean", "clean"), ("aa", "aa")]
)
def test_steps_are_replaced_where_there_are_any(name: str, shorter: str) -> None:
    assert with_steps(name, 2) == shorter


def test_steps_of_what_is_no_attack_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match="unknown attack 'fgsm'; choose from: clean, pgd<steps>"):
        with_steps("fgsm", 2)
