"""One model has one number under one attack, wherever it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.storage.training_files import read_test


def test_the_kept_answers_of_a_confirmation_give_its_numbers(small_study: Path) -> None:
    places = sorted(small_study.glob("confirmations/*/*"))
    assert len(places) == 8  # winner and baseline of two scenarios, two seeds
    for place in places:
        tested = read_test(place)
        assert tested is not None
        for attack in ("clean", "pgd3"):
            answers = tested.answers(attack)
            assert answers is not None
            correct, classes = answers
            assert len(correct) == tested.images[attack]
            assert correct.mean() == tested.metrics[f"test/{attack}_acc"]
            recalls = [correct[classes == label].mean() for label in range(10)]
            assert recalls == pytest.approx(tested.per_class[f"test/{attack}"])
