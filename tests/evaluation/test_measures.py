"""Intervals, calibration and confusion, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ltat_tune.evaluation.measures import (
    Answers,
    accuracies,
    calibration_error,
    confusion,
    mean_interval,
    reliability,
    summarise,
    wilson,
)
from ltat_tune.training.metrics import ClassGroups

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


def _by_hand(right: int, total: int) -> tuple[float, float]:
    """(p + z^2/2n -+ z sqrt(p q / n + z^2 / 4n^2)) / (1 + z^2 / n)."""
    p, z2 = right / total, Z * Z
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return centre - half, centre + half


def test_wilson_of_eight_in_ten() -> None:
    """The textbook case: 0.4902 to 0.9433."""
    found = wilson(8, 10)
    assert (round(found.low, 4), round(found.high, 4)) == (0.4902, 0.9433)
    assert (found.low, found.high) == pytest.approx(_by_hand(8, 10), abs=1e-12)


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (0, 1), (499, 1000)])
def test_wilson_stays_in_the_unit_interval_and_has_a_width(right: int, total: int) -> None:
    found = wilson(right, total)
    assert 0 <= found.low < found.high <= 1
    low, high = _by_hand(right, total)
    assert (found.low, found.high) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-12)


def test_the_mean_of_one_class_has_the_class_s_own_interval() -> None:
    one, own = mean_interval([8], [10]), wilson(8, 10)
    assert (one.low, one.high) == pytest.approx((own.low, own.high), abs=1e-12)


def test_the_mean_of_two_classes_combines_their_distances() -> None:
    """8/10 and 3/10: mean 0.55, minus sqrt(d1^2 + d2^2) / 2 of the distances to the low ends."""
    (low1, high1), (low2, high2) = _by_hand(8, 10), _by_hand(3, 10)
    low = 0.55 - math.hypot(0.8 - low1, 0.3 - low2) / 2
    high = 0.55 + math.hypot(high1 - 0.8, high2 - 0.3) / 2
    found = mean_interval([8, 3], [10, 10])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_where_no_class_has_a_right_answer_the_interval_still_has_a_width() -> None:
    """A bootstrap within classes would say 0 to 0."""
    found = mean_interval([0, 0], [10, 10])
    assert found.low == 0
    assert found.high > 0.15


def test_with_many_images_the_interval_is_that_of_a_bootstrap_within_classes() -> None:
    """Redrawing n answers of a class with replacement gives Binomial(n, p) right ones."""
    right, total = [900, 500, 120], [1000, 1000, 400]
    draws = np.random.default_rng(0).binomial(total, np.divide(right, total), size=(20000, 3))
    low, high = np.quantile((draws / total).mean(axis=1), [0.025, 0.975])
    found = mean_interval(right, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-3)


def test_the_interval_of_a_mean_holds_the_truth_nineteen_times_in_twenty() -> None:
    truth, total, generator = [0.9, 0.4, 0.05], [30, 30, 10], np.random.default_rng(1)
    right = generator.binomial(total, truth, size=(600, 3))
    found = [mean_interval(row.tolist(), total) for row in right]
    held = np.mean([i.low <= np.mean(truth) <= i.high for i in found])
    assert 0.93 <= held <= 0.99


# Six images of three classes; classes 0 and 1 are the head of two groups, class 2 has one image.
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2])
PREDICTED = torch.tensor([0, 0, 1, 1, 2, 2])
CONFIDENCE = torch.tensor([0.95, 0.65, 0.62, 0.95, 0.35, 1.0], dtype=torch.float64)
ANSWERS = Answers(TARGETS, PREDICTED, CONFIDENCE)
GROUPS = ClassGroups.from_counts([30, 20, 10])


def test_confusion_has_true_classes_as_rows() -> None:
    assert confusion(ANSWERS, 3) == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_accuracies_by_hand() -> None:
    """Recalls 2/3, 1/2, 1: four of six right."""
    found = accuracies(ANSWERS.correct, TARGETS, GROUPS, 3)
    assert found["numbers"]["acc"] == pytest.approx(4 / 6)
    assert found["numbers"]["balanced_acc"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["numbers"]["worst_acc"] == 0.5
    assert found["numbers"]["tail_acc"] == pytest.approx(0.75)  # thirds of 3: classes 1 and 2
    assert found["worst_class"] == 1
    assert found["per_class"][0]["right"] == 2
    assert found["per_class"][0]["low"] == pytest.approx(_by_hand(2, 3)[0])
    assert found["intervals"].keys() == found["numbers"].keys()
    assert found["intervals"]["acc"]["high"] == pytest.approx(_by_hand(4, 6)[1])


def test_a_class_without_images_is_left_out_of_means_and_has_no_interval() -> None:
    found = accuracies(ANSWERS.correct[:5], TARGETS[:5], GROUPS, 3)
    assert found["numbers"]["balanced_acc"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["per_class"][2] == {
        "right": 0, "total": 0, "acc": None, "low": None, "high": None,
    }  # fmt: skip


def test_calibration_by_hand() -> None:
    """Bins of width 1/15: 0.35 in bin 5, 0.62 and 0.65 in bin 9, 0.95 twice and 1.0 in bin 14.

    Bin 5: accuracy 0, confidence 0.35, gap 0.35, 1 image. Bin 9: accuracy 1/2, confidence 0.635,
    gap 0.135, 2 images. Bin 14: accuracy 1, confidence 2.9/3, gap 0.1/3, 3 images.
    """
    bins = reliability(ANSWERS)
    assert [b["images"] for b in bins] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 3]
    assert bins[9]["acc"] == 0.5
    assert bins[9]["confidence"] == pytest.approx(0.635)
    assert bins[0]["acc"] is None
    assert calibration_error(bins) == pytest.approx((0.35 + 2 * 0.135 + 3 * 0.1 / 3) / 6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    third = torch.tensor([5 / 15], dtype=torch.float64)
    bins = reliability(Answers(torch.tensor([0]), torch.tensor([0]), third))
    assert [b["images"] for b in bins].index(1) == 4


def test_a_summary_is_plain_data() -> None:
    found = summarise(ANSWERS, GROUPS, 3)
    assert found["ece"] == calibration_error(reliability(ANSWERS))
    assert sum(map(sum, found["confusion"])) == 6
