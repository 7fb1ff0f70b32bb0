"""Class groups of both papers, and accuracies worked by hand."""

from __future__ import annotations

import pytest
import torch

from ltat_tune.training.metrics import Accuracy, ClassGroups


def _groups(counts: list[int]) -> dict[str, list[int]]:
    return ClassGroups.from_counts(counts).members


# --- groups ---


def test_of_10_classes_reats_thirds_are_3_3_and_4_and_srats_halves_5_and_5() -> None:
    """REAT: the tail is classes ceil(20/3) = 7 to 10, counted from 1; the head 1 to 3."""
    assert _groups(list(range(100, 0, -10))) == {
        "head": [0, 1, 2],
        "body": [3, 4, 5],
        "tail": [6, 7, 8, 9],
        "well": [0, 1, 2, 3, 4],
        "under": [5, 6, 7, 8, 9],
    }


def test_of_100_classes_the_tail_is_the_last_34() -> None:
    """ceil(200/3) = 67, so 67 to 100 counted from 1."""
    groups = _groups(list(range(200, 100, -1)))
    assert groups["head"] == list(range(33))
    assert groups["body"] == list(range(33, 66))
    assert groups["tail"] == list(range(66, 100))
    assert groups["well"] == list(range(50))
    assert groups["under"] == list(range(50, 100))


def test_of_3_classes_the_tail_is_two_and_there_is_no_body() -> None:
    """ceil(6/3) = 2, so classes 2 and 3 counted from 1; the rarer half is 3 // 2 = 1 class."""
    assert _groups([30, 20, 10]) == {
        "head": [0],
        "tail": [1, 2],
        "well": [0, 1],
        "under": [2],
    }


def test_of_2_classes_there_is_no_head() -> None:
    """floor(2/3) = 0 head classes; ceil(4/3) = 2, so the tail is class 2 counted from 1."""
    assert _groups([20, 10]) == {"body": [0], "tail": [1], "well": [0], "under": [1]}


def test_groups_follow_the_counts_and_not_the_order_of_the_classes() -> None:
    # by count: 5 (60), 1 (50), 3 (40), 0 (30), 4 (20), 2 (10)
    assert _groups([30, 50, 10, 40, 20, 60]) == {
        "head": [1, 5],
        "body": [3],
        "tail": [0, 2, 4],
        "well": [1, 3, 5],
        "under": [0, 2, 4],
    }


def test_of_equal_counts_the_later_class_is_the_rarer() -> None:
    assert _groups([10, 10, 10, 10]) == {
        "head": [0],
        "body": [1],
        "tail": [2, 3],
        "well": [0, 1],
        "under": [2, 3],
    }
    assert _groups([5, 9, 5])["under"] == [2]


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 7, 10, 43, 100])
def test_thirds_and_halves_each_cover_all_classes_once(classes: int) -> None:
    groups = _groups([(7 * c) % 11 + 1 for c in range(classes)])
    for names in (("head", "body", "tail"), ("well", "under")):
        assert sorted(c for name in names for c in groups.get(name, [])) == list(range(classes))


def test_the_rarer_half_is_the_one_that_reweighting_takes() -> None:
    from ltat_tune.losses.reweighting import under_represented

    for counts in ([4, 4, 9, 4, 2], [3, 3, 3, 3], [1, 9, 5], [8, 1]):
        weights = under_represented(torch.tensor(counts, dtype=torch.float64), 10.0)
        assert weights.eq(10).nonzero().flatten().tolist() == _groups(counts)["under"]


# --- accuracies ---


def test_right_answers_are_counted_by_class() -> None:
    targets = torch.tensor([0, 0, 0, 2, 2])
    correct = torch.tensor([True, False, True, False, True])
    found = Accuracy.count(correct, targets, 4)
    assert found == Accuracy([2, 0, 1, 0], [3, 0, 2, 0])
    assert found.per_class == [pytest.approx(2 / 3), None, 0.5, None]


def test_accuracies_by_hand() -> None:
    """Recalls 1, 1/2, 1/4 of 2, 4 and 4 images: 5 of 10 right, and a mean recall of 7/12."""
    found = Accuracy([2, 2, 1], [2, 4, 4])
    assert found.metrics("val/pgd20", ClassGroups.from_counts([30, 20, 10])) == {
        "val/pgd20_acc": 0.5,
        "val/pgd20_balanced_acc": pytest.approx(7 / 12),
        "val/pgd20_worst_acc": 0.25,
        "val/pgd20_head_acc": 1.0,
        "val/pgd20_tail_acc": pytest.approx(3 / 8),
        "val/pgd20_well_acc": pytest.approx(3 / 4),
        "val/pgd20_under_acc": 0.25,
    }


def test_a_class_without_test_images_is_left_out_of_every_mean() -> None:
    """Class 1 has none: recalls 1 and 1/2; the tail {1, 2} is class 2 alone."""
    found = Accuracy([3, 0, 1], [3, 0, 2])
    metrics = found.metrics("test/clean", ClassGroups.from_counts([30, 20, 10]))
    assert found.per_class == [1.0, None, 0.5]
    assert metrics["test/clean_acc"] == pytest.approx(4 / 5)
    assert metrics["test/clean_balanced_acc"] == pytest.approx(3 / 4)
    assert metrics["test/clean_worst_acc"] == 0.5
    assert metrics["test/clean_tail_acc"] == 0.5
    assert metrics["test/clean_well_acc"] == 1.0


def test_a_group_of_which_no_class_has_images_has_no_accuracy() -> None:
    metrics = Accuracy([1, 0], [2, 0]).metrics("t", ClassGroups.from_counts([9, 1]))
    assert set(metrics) == {"t_acc", "t_balanced_acc", "t_worst_acc", "t_body_acc", "t_well_acc"}
