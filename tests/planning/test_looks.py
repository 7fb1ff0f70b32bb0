"""How slots share tests, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.planning.looks import LookCost, SharedTests, look_costs
from tests.spaces import space_of

# 10 batches of AutoAttack of 100 each: 1,000 passes
TEN = LookCost({"aa": 1000.0}, 0.0, 1.0, {"aa": 10})


@pytest.mark.parametrize(
    ("tests", "slots", "parts", "rounds"),
    [
        (0, 4, 1, 0.0),
        (1, 1, 1, 1.0),
        (1, 2, 2, 0.5),
        (4, 4, 1, 1.0),  # they fill the slots
        (5, 4, 4, 1.3),  # the fifth in 4 parts: 3, 3, 2 and 2 batches
        (1, 5, 5, 0.2),
        (1, 64, 10, 0.1),  # no more parts than batches
        # two in 3 parts each on 3 slots: 2 rounds of 4 batches; in 2 parts: 2 rounds of 5
        (2, 3, 3, 0.8),
        # 6 in 4 parts on 8 slots are 3 rounds of 3 batches; in 5, 4 rounds of 2
        (6, 8, 5, 0.8),
    ],
)
def test_tests_that_do_not_fill_the_slots_are_shared(
    tests: int, slots: int, parts: int, rounds: float
) -> None:
    sharing = TEN.sharing(tests, slots)
    assert sharing.parts == parts
    assert sharing.rounds == pytest.approx(rounds)


def test_the_fewest_parts_that_take_next_to_the_least_time() -> None:
    # AutoAttack is two batches of 500, clean 10 of 1: two parts take 505 of 1,010, three 503
    cost = LookCost({"clean": 10.0, "aa": 1000.0}, 0.0, 1.0, {"clean": 10, "aa": 2})
    assert cost.sharing(1, 8) == SharedTests(2, 0.5)
    # where only clean is left, 5 parts have two batches each, and so have the longest of 8
    assert cost.sharing(1, 8, attacks=["clean"]) == SharedTests(5, 0.2)


def test_parts_that_save_less_than_an_epoch_are_not_worth_their_start() -> None:
    # two parts save 500 passes
    for epoch, parts in ((499.0, 2), (501.0, 1)):
        sharing = LookCost({"aa": 1000.0}, 0.0, epoch, {"aa": 10}).sharing(1, 2)
        assert (sharing.parts, sharing.rounds) == (parts, 1 / parts)


def test_batches_are_those_of_the_images_that_each_attack_meets(tmp_path: Path) -> None:
    text = (
        "fixed: {data.name: digits, data.val_per_class: 10, evaluation.batch_size: 150,"
        " evaluation.aa_images: 100}\n"
        "tuned: {optim.lr: {type: float, low: 0.1, high: 0.2}}\n"
        "confirm: {attacks: [clean, aa]}\n"
    )
    (cost,) = look_costs(space_of(tmp_path, text)).values()
    assert cost.batches == {"clean": 3, "aa": 1}  # 400 images and 100
