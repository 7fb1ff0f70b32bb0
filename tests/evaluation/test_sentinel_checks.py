"""The checks of the sentinel, each on answers that were made up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ltat_tune.evaluation import sentinel_checks as checks


def _evidence(right: int = 100, **broken: int | range) -> checks.Evidence:
    """All images right; of every attack, which it breaks: the first n, or a range.

    Cross-entropy pulls at all wrong classes alike.
    """
    names = (
        "fgsm", "noise", "pgd20", "cw20", "adaptive20", "adaptive_down20", "pgd20_2eps",
        "pgd20_4eps", "unbounded", "pgd100", "square",
    )  # fmt: skip
    made = {name: torch.zeros(right, dtype=torch.bool) for name in names}
    for name, which in broken.items():
        made[name][: which if isinstance(which, int) else 0] = True
        if isinstance(which, range):
            made[name][which.start : which.stop] = True
    ones = torch.ones(right)
    return checks.Evidence(right, right, made, ones.bool(), slope=ones, pull=ones,
                           random_directions=20)  # fmt: skip


@pytest.mark.parametrize(
    ("check", "stronger", "weaker"),
    [
        (checks.black_box, "square", "pgd20"),
        (checks.one_step, "fgsm", "pgd20"),
        (checks.more_steps, "pgd20", "pgd100"),
        (checks.more_steps, "pgd100", "pgd20"),
        (checks.adaptive_up, "adaptive20", "pgd20"),
        (checks.adaptive_down, "adaptive_down20", "pgd20"),
    ],
)
def test_seven_images_on_one_side_are_no_chance_and_six_are(
    check: Callable[[checks.Evidence], checks.Check], stronger: str, weaker: str
) -> None:
    # One-sided exact test at 0.01: 2^-7 = 0.0078 rejects, 2^-6 = 0.0156 does not.
    assert check(_evidence(**{stronger: 27, weaker: 20})).triggered
    assert not check(_evidence(**{stronger: 26, weaker: 20})).triggered


def test_images_lost_on_the_other_side_count_against_it() -> None:
    # 12 gained, 2 lost: (1 + 14 + 91) / 2^14 = 0.0065; 12 and 3: 576 / 2^15 = 0.0176.
    assert checks.black_box(_evidence(square=range(2, 14), pgd20=2)).triggered
    found = checks.black_box(_evidence(square=range(3, 15), pgd20=3))
    assert not found.triggered
    assert (found.figures["gained"], found.figures["lost"]) == (12, 3)
    assert (found.figures["square"], found.figures["pgd20"]) == (88.0, 97.0)


def test_square_speaks_against_the_gradient_only_where_cw_does_not_find_as_much() -> None:
    """PGD-AT with balanced softmax, digits: 40.8 % under PGD-20, 36.3 Square, 33.0 CW-20."""
    explained = checks.black_box(_evidence(right=163, square=18, cw20=31))
    assert (explained.triggered, explained.severity) == (True, "warning")
    assert "so the loss misleads, not the gradient" in explained.sentence
    assert checks.black_box(_evidence(square=20, cw20=20)).severity == "warning"
    misled = checks.black_box(_evidence(square=20, cw20=19))
    assert (misled.triggered, misled.severity) == (True, "serious")
    assert "the loss" not in misled.sentence


def test_a_gap_below_one_in_twenty_of_what_stands_is_let_pass() -> None:
    assert checks.black_box(_evidence(square=9)).triggered  # of 100 that withstand PGD
    assert not checks.black_box(_evidence(right=400, square=9)).triggered  # 2.2 %
    # 300 more that PGD breaks itself are no claim of robustness
    broken = _evidence(right=400, pgd20=300, square=309)
    assert checks.black_box(broken).triggered


def test_the_size_of_the_logits_is_blamed_only_if_the_pull_is_even() -> None:
    found = _evidence(adaptive20=30, pgd20=20)
    even, uneven = (
        checks.adaptive_up(replace(found, pull=torch.full((100,), pull))) for pull in (1.9, 2.1)
    )
    assert even.triggered and not uneven.triggered
    assert "pulls at the runner-up 1.9 times as much" in even.sentence
    assert even.figures["median_pull"] == pytest.approx(1.9)
    assert "another loss suits it better, see CW" in uneven.sentence
    two_classes = checks.adaptive_up(replace(found, pull=torch.full((100,), torch.inf)))
    assert not two_classes.triggered


def test_cw_may_take_one_in_ten_and_what_chance_allows() -> None:
    # of 100 that stand, with share 0.1: P(X >= 19) = 0.0046, P(X >= 18) = 0.010007 > 0.01
    assert checks.margin_check(_evidence(cw20=19)).triggered
    assert not checks.margin_check(_evidence(cw20=18)).triggered
    # of 80 that stand: P(X >= 16) = 0.0053, P(X >= 15) = 0.0123
    assert checks.margin_check(_evidence(cw20=36, pgd20=20)).triggered
    assert not checks.margin_check(_evidence(cw20=35, pgd20=20)).triggered


def test_the_published_robal_is_found_and_the_published_mart_is_not() -> None:
    """REAT's tables, CIFAR-10, UR 50, of 10,000 images, as if no image were lost."""
    robal = _evidence(right=5000, pgd20=5000 - 3846, adaptive20=5000 - 3354, cw20=5000 - 3390)
    assert checks.adaptive_up(robal).triggered
    assert checks.margin_check(robal).triggered  # 11.9 %
    mart = _evidence(right=5000, pgd20=5000 - 2918, cw20=5000 - 2704)
    assert not checks.margin_check(mart).triggered  # 7.3 %


def test_more_steps_that_help_are_a_warning_and_that_harm_are_serious() -> None:
    harm = checks.more_steps(_evidence(pgd20=30, pgd100=20))
    assert (harm.severity, harm.triggered) == ("serious", True)
    assert "more steps do less harm" in harm.sentence
    short = checks.more_steps(_evidence(pgd20=20, pgd100=30))
    assert (short.severity, short.triggered) == ("warning", True)
    assert "20 steps stop too early" in short.sentence


def test_what_survives_without_a_limit_or_grows_with_the_radius_is_found() -> None:
    falling = {"pgd20": 40, "pgd20_2eps": 70, "pgd20_4eps": 100}
    # P(X >= 12) = 0.0043 and P(X >= 11) = 0.0115 for X ~ B(100, 0.05)
    assert not checks.larger_radius(_evidence(**falling, unbounded=89)).triggered
    found = checks.larger_radius(_evidence(**falling, unbounded=88))
    assert found.triggered
    assert "any image can become any other" in found.sentence
    rising = {"pgd20": 40, "pgd20_2eps": 30, "pgd20_4eps": 100, "unbounded": 100}
    assert "cannot do less harm" in checks.larger_radius(_evidence(**rising)).sentence


def test_a_flat_surface_and_a_gradient_no_better_than_noise_are_counted() -> None:
    found = _evidence()
    slope, wins = torch.ones(100), torch.ones(100, dtype=torch.bool)
    slope[:12], wins[:36] = 0.0, False  # P(X <= 64) = 0.0095 for X ~ B(100, 0.75)
    worse = replace(found, gradient_wins=wins, slope=slope)
    assert checks.flat(worse).triggered
    assert checks.flat(worse).sentence.startswith("On 12 of 100 images")
    assert checks.random_direction(worse).triggered
    assert "on 64 of 100 images" in checks.random_direction(worse).sentence
    assert not checks.flat(found).triggered
    assert not checks.random_direction(found).triggered
