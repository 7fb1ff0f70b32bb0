"""Which images: the papers' counts and the papers' indices."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from ltat_tune.config.scalars import parse_ratio
from ltat_tune.data.long_tail import Cut, after_hold_out, cut, hold_out, profile_counts
from ltat_tune.errors import DataError
from ltat_tune.presentation.names import reached_ratio

CIFAR10 = [5000] * 10
CIFAR100 = [500] * 100
TINY = [500] * 200
SVHN = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]


def _targets(classes: int = 10, each: int = 60) -> NDArray[np.int64]:
    """Labels in mixed order, as in a published training set."""
    labels = np.repeat(np.arange(classes), each)
    return np.random.RandomState(1).permutation(labels)


def _cut(
    targets: NDArray[np.int64],
    *,
    profile: str = "exp",
    imbalance_ratio: float = 10,
    max_per_class: int | None = None,
    val_per_class: int = 0,
    subset_seed: int = 0,
) -> Cut:
    return cut(
        targets,
        profile=profile,
        imbalance_ratio=imbalance_ratio,
        max_per_class=max_per_class,
        val_per_class=val_per_class,
        subset_seed=subset_seed,
    )


def _released(targets: NDArray[np.int64], counts: list[int]) -> NDArray[np.int64]:
    """The releases' selection: the global generator seeded with 0. It is put back afterwards."""
    state = np.random.get_state()
    try:
        np.random.seed(0)
        chosen = []
        for label, count in enumerate(counts):
            members = np.where(targets == label)[0]
            np.random.shuffle(members)
            chosen.append(members[:count])
        return np.concatenate(chosen)
    finally:
        np.random.set_state(state)


# --- counts ---


@pytest.mark.parametrize(
    ("ratio", "counts", "total"),
    [
        (10, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500], 20431),
        (20, [5000, 3584, 2569, 1842, 1320, 946, 678, 486, 348, 250], 17023),
        (50, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100], 13996),
        (100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50], 12406),
    ],
)
def test_exp_counts_on_cifar10_are_the_papers(ratio: int, counts: list[int], total: int) -> None:
    found = profile_counts("exp", CIFAR10, imbalance_ratio=ratio)
    assert found == counts
    assert sum(found) == total


@pytest.mark.parametrize(("ratio", "total"), [(10, 19573), (20, 15907), (50, 12608), (100, 10847)])
def test_exp_totals_on_cifar100_are_the_papers(ratio: int, total: int) -> None:
    found = profile_counts("exp", CIFAR100, imbalance_ratio=ratio)
    assert sum(found) == total
    assert found[0] == 500
    assert found[-1] == 500 // ratio


def test_exp_counts_on_tiny_imagenet_run_from_500_to_50() -> None:
    found = profile_counts("exp", TINY, imbalance_ratio=10)
    assert (found[0], found[-1], sum(found)) == (500, 50, 39072)


@pytest.mark.parametrize(("ratio", "rare", "total"), [(10, 500, 27500), (100, 50, 25250)])
def test_step_counts_on_cifar10_halve_the_classes(ratio: int, rare: int, total: int) -> None:
    found = profile_counts("step", CIFAR10, imbalance_ratio=ratio)
    assert found == [5000] * 5 + [rare] * 5
    assert sum(found) == total


def test_step_counts_on_cifar100_halve_the_classes() -> None:
    found = profile_counts("step", CIFAR100, imbalance_ratio=10)
    assert found == [500] * 50 + [50] * 50
    assert sum(found) == 27500


def test_of_an_odd_number_of_classes_step_makes_the_larger_half_rare() -> None:
    assert profile_counts("step", [90] * 5, imbalance_ratio=10) == [90, 90, 9, 9, 9]


@pytest.mark.parametrize(("ratio", "decimal"), [(10, 0.1), (20, 0.05), (50, 0.02), (100, 0.01)])
@pytest.mark.parametrize("available", [CIFAR10, CIFAR100, TINY], ids=["10", "100", "200"])
def test_a_ratio_gives_the_ints_of_the_releases_decimal_literal(
    ratio: int, decimal: float, available: list[int]
) -> None:
    classes, n_max = len(available), available[0]
    exp = [int(n_max * decimal ** (i / (classes - 1.0))) for i in range(classes)]
    step = [n_max] * (classes // 2) + [int(n_max * decimal)] * (classes // 2)
    assert profile_counts("exp", available, imbalance_ratio=ratio) == exp
    assert profile_counts("step", available, imbalance_ratio=ratio) == step


def test_the_decimal_literal_itself_is_refused_with_the_ratio_that_is_meant() -> None:
    with pytest.raises(ValueError, match=r"must be >= 1, got 0\.02; did you mean 50\?"):
        parse_ratio(0.02)


def test_balanced_is_n_max_of_each_and_full_is_what_there_is() -> None:
    available = [30, 20, 25]
    assert profile_counts("balanced", available, imbalance_ratio=50) == [20, 20, 20]
    assert profile_counts("balanced", available, imbalance_ratio=50, max_per_class=7) == [7] * 3
    assert profile_counts("full", available, imbalance_ratio=50, max_per_class=7) == available


@pytest.mark.parametrize(
    ("ratio", "rarest", "reached"),
    [
        (10, 48, 10),
        (20, 24, 20),
        (50, 9, 160 / 3),  # 480 / 50 = 9.6
        (100, 4, 120),  # 480 / 100 = 4.8
    ],
)
def test_with_a_hold_out_cifar100_misses_some_ratios(
    ratio: int, rarest: int, reached: float
) -> None:
    counts = profile_counts("exp", after_hold_out(CIFAR100, 20), imbalance_ratio=ratio)
    assert (max(counts), min(counts)) == (480, rarest)
    assert reached_ratio(counts) == pytest.approx(reached)


def test_n_max_is_by_default_what_every_class_has() -> None:
    """SVHN: a head of more than the rarest class's images would need images that do not exist."""
    assert profile_counts("step", [100, 300, 50, 80], imbalance_ratio=10) == [50, 50, 5, 5]


@pytest.mark.parametrize(("rounding", "total"), [("floor", 50401), ("round", 50500)])
def test_linear_counts_on_tiny_imagenet_run_from_500_to_5(rounding: str, total: int) -> None:
    found = profile_counts("linear", TINY, imbalance_ratio=100, rounding=rounding)
    assert (found[0], found[-1], sum(found)) == (500, 5, total)
    assert sorted(found, reverse=True) == found


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 10, 11, 50, 100])
def test_linear_counts_are_exact_where_they_are_whole(ratio: int) -> None:
    """n_max is a multiple of UR * (C-1), so every step is a whole number of images."""
    n_max, classes = ratio * 9 * 7, 10
    step = (n_max - n_max // ratio) // 9
    for rounding in ("floor", "round"):
        found = profile_counts(
            "linear", [n_max] * classes, imbalance_ratio=ratio, rounding=rounding
        )
        assert found == [n_max - step * i for i in range(classes)]


@pytest.mark.parametrize(
    ("available", "ratio", "each"),
    [
        (CIFAR10, 10, 2043), (CIFAR10, 20, 1702), (CIFAR10, 50, 1399), (CIFAR10, 100, 1240),
        (CIFAR100, 10, 195), (CIFAR100, 20, 159), (CIFAR100, 50, 126),
    ],
)  # fmt: skip
def test_balanced_small_counts_are_the_papers(available: list[int], ratio: int, each: int) -> None:
    found = profile_counts("balanced_small", available, imbalance_ratio=ratio)
    assert found == [each] * len(available)


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (10, [4948, 10732, 6345, 3943, 2680, 1914, 1233, 933, 651, 465]),
        (100, [4948, 8309, 3804, 1830, 963, 532, 265, 155, 84, 46]),
    ],
)
def test_exp_counts_on_svhn_by_each_classs_own_images(ratio: int, counts: list[int]) -> None:
    assert profile_counts("exp", SVHN, imbalance_ratio=ratio, base="per_class") == counts


def test_the_smallest_class_as_base_gives_svhn_the_ratio_up_to_rounding() -> None:
    found = profile_counts("exp", SVHN, imbalance_ratio=10)
    assert (found[0], found[-1]) == (4659, 465)
    assert profile_counts("step", SVHN, imbalance_ratio=10) == [4659] * 5 + [465] * 5


def test_step_and_linear_by_each_classs_own_images() -> None:
    available = [100, 300, 50, 80]
    step = profile_counts("step", available, imbalance_ratio=10, base="per_class")
    assert step == [100, 300, 5, 8]
    # shares 1, 0.7, 0.4, 0.1
    linear = profile_counts("linear", available, imbalance_ratio=10, base="per_class")
    assert linear == [100, 210, 20, 8]
    given = profile_counts(
        "step", available, imbalance_ratio=10, base="per_class", max_per_class=40
    )
    assert given == [40, 40, 4, 4]  # a given n_max is every class's


def test_rounding_takes_the_nearest_number() -> None:
    # 20 * 4^(-i/9): 20, 17.1, 14.7, 12.6, 10.8, 9.26, 7.94, 6.80, 5.83, 5
    found = profile_counts("exp", [20] * 10, imbalance_ratio=4, rounding="round")
    assert found == [20, 17, 15, 13, 11, 9, 8, 7, 6, 5]


def test_given_counts_are_taken_as_they_are() -> None:
    found = profile_counts("given", [9, 9, 9], imbalance_ratio=50, counts=(3, 9, 1))
    assert found == [3, 9, 1]


def test_given_counts_must_be_as_many_as_the_classes_and_not_more_than_their_images() -> None:
    with pytest.raises(DataError) as caught:
        profile_counts("given", [9, 9, 9], imbalance_ratio=50, counts=(3, 9))
    assert str(caught.value) == (
        "data.counts must hold one number for each of the 3 classes, got 2"
    )
    with pytest.raises(DataError) as caught:
        profile_counts(
            "given", [9, 8, 9], imbalance_ratio=50, counts=(3, 9, 1), names=("a", "b", "c")
        )
    assert str(caught.value) == (
        "class b has 8 images left for training, but data.counts asks for 9; lower it to at most 8"
    )


# --- which images ---


@pytest.mark.parametrize("ratio", [1, 10, 50])
@pytest.mark.parametrize("profile", ["exp", "step"])
def test_without_a_hold_out_the_indices_are_the_releases(profile: str, ratio: int) -> None:
    targets = _targets(each=100)
    found = _cut(targets, profile=profile, imbalance_ratio=ratio)
    counts = profile_counts(profile, [100] * 10, imbalance_ratio=ratio)
    assert found.train.tolist() == _released(targets, counts).tolist()
    assert len(found.val) == 0


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    targets = _targets()
    state = np.random.get_state()
    try:
        np.random.seed(123)
        first = _cut(targets, val_per_class=5)
        next_draw = np.random.random()
        np.random.seed(123)
        assert next_draw == np.random.random()
        np.random.seed(456)
        second = _cut(targets, val_per_class=5)
    finally:
        np.random.set_state(state)
    assert first.train.tolist() == second.train.tolist()
    assert first.val.tolist() == second.val.tolist()


@pytest.mark.parametrize("val_per_class", [0, 10])
@pytest.mark.parametrize("profile", ["exp", "step", "linear"])
def test_subsets_are_nested_over_the_ratio(profile: str, val_per_class: int) -> None:
    targets = _targets()
    subsets = [
        set(
            _cut(
                targets, profile=profile, imbalance_ratio=ratio, val_per_class=val_per_class
            ).train.tolist()
        )
        for ratio in (1, 2, 10, 20, 50)
    ]
    for larger, smaller in zip(subsets, subsets[1:], strict=False):
        assert smaller < larger


def test_the_cut_has_the_counts_class_after_class_and_no_image_twice() -> None:
    targets = _targets(each=60)
    found = _cut(targets, imbalance_ratio=10, val_per_class=10)
    counts = profile_counts("exp", [50] * 10, imbalance_ratio=10)
    assert targets[found.train].tolist() == np.repeat(np.arange(10), counts).tolist()
    assert len(set(found.train.tolist())) == len(found.train)


def test_max_per_class_is_the_count_of_the_first_class() -> None:
    found = _cut(_targets(), max_per_class=20, imbalance_ratio=4)
    # 20 * 4^(-i/9): 20, 17.1, 14.7, 12.6, 10.8, 9.26, 7.94, 6.80, 5.83, 5
    counts = np.bincount(_targets()[found.train]).tolist()
    assert counts == [20, 17, 14, 12, 10, 9, 7, 6, 5, 5]


def test_another_subset_seed_takes_other_images_of_the_same_counts() -> None:
    targets = _targets()
    a, b = (_cut(targets, val_per_class=5, subset_seed=seed) for seed in (0, 1))
    assert targets[a.train].tolist() == targets[b.train].tolist()
    assert set(a.train.tolist()) != set(b.train.tolist())
    assert set(a.val.tolist()) != set(b.val.tolist())


def test_the_largest_subset_seed_is_accepted() -> None:
    assert len(_cut(_targets(), val_per_class=5, subset_seed=2**32 - 1).val) == 50


# --- the hold-out ---


def test_the_hold_out_is_balanced_and_disjoint_from_the_subset() -> None:
    targets = _targets()
    found = _cut(targets, val_per_class=7)
    assert np.bincount(targets[found.val]).tolist() == [7] * 10
    assert not set(found.val.tolist()) & set(found.train.tolist())


def test_the_hold_out_is_set_aside_before_the_cut_and_so_independent_of_it() -> None:
    targets = _targets()
    held = [
        _cut(
            targets, profile=profile, imbalance_ratio=ratio, max_per_class=most, val_per_class=7
        ).val.tolist()
        for profile, ratio, most in [("exp", 1, None), ("exp", 50, None), ("step", 10, 20)]
    ]
    assert held[0] == held[1] == held[2] == hold_out(targets, 7, subset_seed=0).tolist()


def test_a_hold_out_leaves_the_papers_order_of_the_rest() -> None:
    targets = _targets()
    found = _cut(targets, imbalance_ratio=1, val_per_class=7)
    held = set(found.val.tolist())
    everything = _released(targets, [60] * 10)
    assert found.train.tolist() == [i for i in everything.tolist() if i not in held]


def test_the_hold_out_is_not_the_head_of_the_subsets_permutation() -> None:
    """With one stream for both, the hold-out would be what the papers train on first."""
    targets = _targets()
    held = hold_out(targets, 7, subset_seed=0).tolist()
    assert len(set(held) & set(_released(targets, [7] * 10).tolist())) < 35


# --- errors ---


def test_classes_left_without_images_are_named_with_a_ratio_that_works() -> None:
    """20 * 50^(-i/9) falls below 1 at i = 9 ln 20 / ln 50 = 6.9."""
    with pytest.raises(DataError) as caught:
        profile_counts("exp", [20] * 10, imbalance_ratio=50)
    assert str(caught.value) == (
        "every class must have an image, but profile exp with imbalance ratio 50 and n_max 20 "
        "leaves none for classes 7, 8, 9; use a ratio of at most 20"
    )


def test_one_class_left_without_images_is_named_alone_and_many_are_cut_short() -> None:
    with pytest.raises(DataError, match="leaves none for class 9; use a ratio of at most 20"):
        profile_counts("exp", [20] * 10, imbalance_ratio=21)
    with pytest.raises(DataError, match=r"leaves none for classes 6, 7, 8, 9, 10, 11, \.\.\.;"):
        profile_counts("step", [4] * 13, imbalance_ratio=5)


def test_the_ratio_that_the_error_offers_works() -> None:
    """49 * (1 / 49) is 0.9999... in floating point and would be truncated to 0."""
    for n_max, profile, rounding in itertools.product(
        range(1, 300), ("exp", "step", "linear"), ("floor", "round")
    ):
        available = [n_max + 3] * 9 + [n_max]
        with pytest.raises(DataError) as caught:
            profile_counts(profile, available, imbalance_ratio=1000, rounding=rounding)
        found = re.search(r"at most (\d+)$", str(caught.value))
        assert found is not None
        ratio = int(found.group(1))
        counts = profile_counts(profile, available, imbalance_ratio=ratio, rounding=rounding)
        assert min(counts) == 1


def test_a_class_too_small_for_the_hold_out_is_named() -> None:
    with pytest.raises(DataError) as caught:
        _cut(_targets(each=60), val_per_class=60)
    assert str(caught.value) == (
        "class 0 has 60 training images, but data.val_per_class holds out 60 and at least one "
        "must remain; lower data.val_per_class to at most 59"
    )


def test_the_rule_of_the_hold_out_names_the_smallest_class() -> None:
    assert after_hold_out([12, 11], 10) == [2, 1]
    with pytest.raises(DataError) as caught:
        after_hold_out([12, 1, 10], 10, names=("ant", "bee", "cat"))
    assert str(caught.value) == (
        "class bee has 1 training images, but data.val_per_class holds out 10 and at least one "
        "must remain; lower data.val_per_class or add images"
    )


def test_more_images_than_a_class_has_are_refused_with_the_number_that_works() -> None:
    with pytest.raises(DataError) as caught:
        _cut(_targets(each=60), max_per_class=56, val_per_class=5)
    assert str(caught.value) == (
        "class 0 has 55 images left for training, but the profile asks for 56; "
        "lower data.max_per_class to at most 55"
    )
    assert len(_cut(_targets(each=60), max_per_class=55, val_per_class=5).train) > 0
