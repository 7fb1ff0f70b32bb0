"""Intervals, calibration and confusion, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom, binomtest

from ltat_tune.evaluation.measures import (
    Answers,
    accuracies,
    calibration_error,
    confusion,
    effective_images,
    mean_ends,
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


@pytest.mark.parametrize("right", [[5, 5], [1, 1], [10, 10]])
def test_equal_recalls_have_the_exact_interval_of_all_images(right: list[int]) -> None:
    """Two classes of ten are then twenty images: Clopper-Pearson by scipy's binomtest."""
    exact = binomtest(sum(right), 20).proportion_ci(0.95, method="exact")
    found = mean_interval(right, [10, 10])
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_ends_leave_a_fortieth_on_either_side() -> None:
    """From the definition: 2 or more of 150 right is that rare at the low end."""
    found = mean_interval([1, 1, 0], [50, 50, 50])
    assert binom.sf(1, 150, found.low) == pytest.approx(0.025, abs=1e-9)
    assert binom.cdf(2, 150, found.high) == pytest.approx(0.025, abs=1e-9)


def test_recalls_that_differ_count_for_more_images() -> None:
    """8/10 and 3/10, mean 0.55, estimated as 8.55/11 and 3.55/11.

    p (1 - p) is 0.173120 and 0.218574; over 1 - 10/121, on average 0.213491, which is 0.862592 of
    0.55 * 0.45. So 20 images tell what 23.1859 of one proportion tell: 12.7523 right, 10.4337
    wrong, and an image counts for 1.1593 of them.
    """
    mean, images = effective_images([8, 3], [10, 10])
    assert float(mean) == pytest.approx(0.55)
    assert float(images) == pytest.approx(23.1859, abs=1e-3)
    found = mean_interval([8, 3], [10, 10])
    low = beta.ppf(0.025, 12.7523, 10.4337 + 1.1593)
    high = beta.ppf(0.975, 12.7523 + 1.1593, 10.4337)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)


def test_classes_of_unequal_size_count_by_their_harmonic_mean() -> None:
    """The variance is p q (1/10 + 1/40) / 4: that of 32 images, not of 50.

    One image of the small class moves the mean by 1/20, as 1.6 of 32 do.
    """
    assert float(effective_images([5, 20], [10, 40])[1]) == pytest.approx(32)
    found = mean_interval([5, 20], [10, 40])
    low, high = beta.ppf(0.025, 16, 17.6), beta.ppf(0.975, 17.6, 16)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_where_no_class_has_a_right_answer_the_interval_still_has_a_width() -> None:
    """A bootstrap within classes would say 0 to 0; 0 of 20 ends at 1 - 0.025^(1/20)."""
    found = mean_interval([0, 0], [10, 10])
    assert found.low == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_classes_all_right_and_all_wrong_leave_some_doubt() -> None:
    """Five images each do not show that a class is at 1, nor 0; nor is it as wide as 10 images."""
    found = mean_interval([5, 5, 0, 0], [5, 5, 5, 5])
    exact = binomtest(10, 20).proportion_ci(0.95, method="exact")
    assert exact.low + 0.05 < found.low < 0.45
    assert found.low + found.high == pytest.approx(1)


def test_wrong_answers_mirror_right_ones() -> None:
    one, other = mean_interval([7, 1, 0], [9, 5, 5]), mean_interval([2, 4, 5], [9, 5, 5])
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


def test_many_counts_at_once_have_the_intervals_of_each() -> None:
    right, total = np.array([[7, 1, 0], [0, 0, 0], [9, 5, 5]]), [9, 5, 5]
    low, high = mean_ends(right, total)
    each = [mean_interval(row.tolist(), total) for row in right]
    assert [(i.low, i.high) for i in each] == list(zip(low.tolist(), high.tolist(), strict=True))


def test_with_many_images_the_interval_is_that_of_a_bootstrap_within_classes() -> None:
    """Redrawing n answers of a class with replacement gives Binomial(n, p) right ones."""
    right, total = [900, 500, 120], [1000, 1000, 400]
    draws = np.random.default_rng(0).binomial(total, np.divide(right, total), size=(20000, 3))
    low, high = np.quantile((draws / total).mean(axis=1), [0.025, 0.975])
    found = mean_interval(right, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-3)


@pytest.mark.parametrize(
    ("classes", "images", "mean", "size"),
    [(34, 100, 0.01, 0), (10, 5, 0.5, 0), (4, 5, 0.5, 4), (100, 5, 0.01, 4), (100, 40, 0.05, 1),
     (34, 1000, 0.5, 1)],
)  # fmt: skip
def test_the_interval_of_a_mean_holds_the_truth_nineteen_times_in_twenty(
    classes: int, images: int, mean: float, size: float
) -> None:
    """Of 4000 draws, 0.94 is three standard errors below 0.95. Size 0: all recalls are equal."""
    generator = np.random.default_rng(1)
    truth = np.full((4000, classes), mean)
    if size:
        truth = generator.beta(mean * size, (1 - mean) * size, (4000, classes))
    low, high = mean_ends(generator.binomial(images, truth), np.full(classes, images))
    held = (low <= truth.mean(axis=1) + 1e-12) & (truth.mean(axis=1) <= high + 1e-12)
    assert held.mean() >= 0.94


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
