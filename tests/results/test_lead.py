"""The lead on the test images, against values worked out in other ways."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy.stats import norm, t, ttest_1samp

from ltat_tune.results.lead import MeasuredLead, holm, measured_lead, shares
from ltat_tune.training.metrics import Accuracy, ClassGroups

CLASSES = np.repeat(np.arange(4), [3, 5, 1, 4])
ANSWERS = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0], dtype=bool)


def test_what_the_images_add_sums_to_the_accuracies() -> None:
    right = [2, 3, 1, 1]
    groups = ClassGroups.from_counts([9, 5, 3, 2])
    known = Accuracy(right, [3, 5, 1, 4]).metrics("a", groups)
    assert shares(ANSWERS, CLASSES, None, "images").sum() == pytest.approx(known["a_acc"])
    assert shares(ANSWERS, CLASSES, None, "classes").sum() == pytest.approx(
        (2 / 3 + 3 / 5 + 1 + 1 / 4) / 4
    )
    assert shares(ANSWERS, CLASSES, None, "worst").sum() == pytest.approx(0.25)
    for name, members in groups.members.items():
        value = shares(ANSWERS, CLASSES, members, "classes").sum()
        assert value == pytest.approx(known[f"a_{name}_acc"])


def test_without_chance_in_the_images_it_is_the_t_test_over_the_seeds() -> None:
    # every image of a class adds the same to a seed's lead
    by_seed = np.array([0.02, 0.05, 0.03])
    found = measured_lead(np.tile(by_seed[:, None] / 13, 13), CLASSES)
    known = ttest_1samp(by_seed, 0.0)
    ends = known.confidence_interval(0.95)
    assert found.low == pytest.approx(ends.low) and found.high == pytest.approx(ends.high)
    assert found.p == pytest.approx(known.pvalue)
    assert found.gain == pytest.approx(1 / 30)


def test_without_chance_in_the_seeds_it_is_the_normal_one_over_the_images() -> None:
    rng = np.random.default_rng(3)
    row = rng.choice([-1.0, 0.0, 1.0], size=60) / 60
    classes = np.repeat(np.arange(3), [10, 20, 30])
    found = measured_lead(np.stack([row] * 3), classes)
    variance = sum(n * row[classes == c].var(ddof=1) for c, n in enumerate((10, 20, 30)))
    assert found.settles == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)
    assert found.p == pytest.approx(2 * norm.sf(abs(found.gain) / math.sqrt(variance)))


def _by_hand(table: np.ndarray, classes: np.ndarray, alpha: float) -> float:
    """Half of the interval's width, image by image and seed by seed."""
    seeds = len(table)
    by_seed = [float(row.sum()) for row in table]
    of_seeds, whole, shared = statistics.variance(by_seed), 0.0, 0.0
    for label in sorted({*classes.tolist()}):
        places = [i for i, c in enumerate(classes) if c == label]
        n = len(places)
        image = {i: statistics.fmean(table[:, i]) for i in places}
        middle = statistics.fmean(image.values())
        scale = n / (n - 1)
        whole += scale * sum((image[i] - middle) ** 2 for i in places)
        for row in table:
            own = statistics.fmean(row[i] for i in places)
            rest = [row[i] - image[i] - own + middle for i in places]
            shared += scale * sum(r**2 for r in rest) / (seeds - 1)
    moved = shared * max(0, 1 - 1.5 / (seeds - 1))
    from_seeds = max(0.0, of_seeds - moved) / seeds
    from_images = max(0.0, whole - shared / seeds) + moved / seeds
    if of_seeds <= 1e-9 * shared:  # all leads are equal, so the images tell of all the chance
        from_images = max(0.0, whole - shared / seeds) + shared / seeds
    student, normal = t.isf(alpha / 2, seeds - 1), norm.isf(alpha / 2)
    return math.sqrt(student**2 * from_seeds + normal**2 * from_images)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_both_sources_together(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    classes = np.repeat(np.arange(3), [4, 6, 10])
    table = rng.choice([-1.0, 0.0, 0.0, 1.0], size=(seeds, 20)) / 20 + 0.02
    found = measured_lead(table, classes)
    assert found.settles == pytest.approx(_by_hand(table, classes, 0.05))
    assert found.low is not None and found.high is not None and found.p is not None
    assert found.high - found.gain == pytest.approx(found.settles)
    # p is the level at which the interval just touches 0
    assert _by_hand(table, classes, found.p) == pytest.approx(abs(found.gain))


def test_classes_with_one_image_are_measured_together() -> None:
    table = np.array([[0.1, -0.1, 0.2, 0.0], [0.1, -0.1, 0.2, 0.0]])
    alone = measured_lead(table, np.arange(4))
    together = measured_lead(table, np.zeros(4, dtype=np.int64))
    assert alone.settles == pytest.approx(together.settles)


def test_the_seeds_that_would_settle_it_do_and_one_fewer_would_not() -> None:
    rng = np.random.default_rng(0)
    classes = np.zeros(2000, dtype=np.int64)
    noise = 0.01 * np.array([-1.0, 0.0, 1.0])[:, None]
    table = (0.008 + noise + rng.normal(0, 0.1, 2000)) / 2000
    found = measured_lead(table, classes)
    assert found.p is not None and found.p > 0.05 and found.seeds_needed is not None
    # the seeds' part alone falls with their number: 0.01^2 / S, the images' part stays
    images = table[0].var(ddof=1) * 2000

    def half(count: int) -> float:
        student = t.ppf(0.975, count - 1)
        return float(np.sqrt(student**2 * 0.01**2 / count + 1.959964**2 * images))

    assert half(found.seeds_needed) < found.gain < half(found.seeds_needed - 1)
    much = measured_lead(table + rng.normal(0, 1.0, 2000) / 2000, classes)
    assert much.seeds_needed is None  # more images are what it needs


def test_one_seed_has_no_interval_and_equal_answers_no_p() -> None:
    one = np.zeros((1, 13))
    one[0, 0] = 0.125
    assert measured_lead(one, CLASSES) == MeasuredLead(0.125)
    assert measured_lead(np.zeros((3, 13)), CLASSES) == MeasuredLead(0.0, 0.0, 0.0)


def test_holm_steps_down() -> None:
    # 0.01 * 3, 0.02 * 2, 0.03 raised to the one before
    assert holm([0.03, None, 0.01, 0.02]) == [
        pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)
    ]  # fmt: skip


def test_two_seeds_with_equal_leads_prove_nothing_by_that_alone() -> None:
    """Four images: each seed gains one, and the seeds agree on none of the others."""
    differences = np.array([[1, -1, 1, 0], [-1, 1, 0, 1]]) / 4
    found = measured_lead(differences, np.zeros(4, dtype=np.int64))
    assert found.gain == 0.25
    assert found.p is not None and found.p > 0.05
    assert found.low is not None and found.low < 0
