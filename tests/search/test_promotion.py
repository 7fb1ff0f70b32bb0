"""Promotions by hand: Li2020System's Algorithm 2, and what is settled at the end."""

from __future__ import annotations

from ltat_tune.search.early_stop import EarlyStop
from ltat_tune.search.promotion import Promotions


def test_the_best_third_of_what_ended_goes_on_as_soon_as_it_is_known() -> None:
    found = Promotions(1, 3)
    found.add(0, 0, 0.5)
    found.add(0, 1, 0.4)
    assert found.next(settled=0) is None  # floor(2 / 3) = 0
    found.add(0, 2, 0.3)
    assert found.next(settled=0) == (0, 0)
    assert found.next(settled=0) is None
    for trial, score in ((3, 0.9), (4, 0.2), (5, 0.1)):
        found.add(0, trial, score)
    assert found.next(settled=0) == (3, 0)  # of six the best two: 3 and 0
    assert found.next(settled=0) is None


def test_who_was_beaten_once_may_still_go_on() -> None:
    found = Promotions(1, 3)
    for trial, score in enumerate([0.5, 0.4, 0.1]):
        found.add(0, trial, score)
    assert found.next(0) == (0, 0)
    for trial in (3, 4, 5):
        found.add(0, trial, 0.0)
    assert found.next(0) == (1, 0)


def test_higher_levels_go_first() -> None:
    found = Promotions(2, 2)
    for trial, score in enumerate([0.5, 0.4, 0.3, 0.2]):
        found.add(0, trial, score)
    assert [found.next(0), found.next(0)] == [(0, 0), (1, 0)]
    found.add(1, 0, 0.6)
    found.add(1, 1, 0.7)
    found.add(0, 4, 0.9)
    found.add(0, 5, 0.1)
    assert [found.next(0), found.next(0), found.next(0)] == [(1, 1), (4, 0), None]


def test_at_the_end_at_least_one_goes_on_and_the_rest_is_out() -> None:
    found = Promotions(2, 3)
    found.add(0, 0, 0.2)
    found.add(0, 1, 0.3)
    assert found.losers(settled=0) == []
    assert found.next(settled=1) == (1, 0)  # ceil(2 / 3) = 1
    assert found.next(settled=1) is None
    assert found.losers(settled=1) == [0]
    found.leave(0)
    assert found.losers(settled=1) == []
    found.add(1, 1, 0.4)
    assert found.next(settled=2) == (1, 1)
    assert found.losers(settled=2) == []


def test_equal_scores_go_by_number() -> None:
    found = Promotions(1, 2)
    for trial in (3, 1, 2, 0):
        found.add(0, trial, 0.5)
    assert [found.next(0), found.next(0), found.next(0)] == [(0, 0), (1, 0), None]


def test_what_an_earlier_process_promoted_is_not_promoted_again() -> None:
    found = Promotions(1, 2)
    found.add(0, 0, 0.5, gone_on=True)
    found.add(0, 1, 0.4)
    assert found.next(0) is None
    assert found.next(1) is None
    assert found.losers(1) == [1]


def test_a_trial_that_ended_keeps_its_place_but_not_its_chance() -> None:
    found = Promotions(1, 2)
    found.add(0, 0, 0.9)
    found.leave(0)
    found.add(0, 1, 0.4)
    assert found.next(1) is None
    assert found.losers(1) == [1]


def test_who_waits_at_a_forgotten_level_is_out_and_counts_no_more() -> None:
    found = Promotions(1, 2)
    for trial, score in enumerate([0.9, 0.8, 0.1]):
        found.add(0, trial, score)
    assert found.next(0) == (0, 0)
    found.end(0, 0.5)
    assert found.pairs(0) == [(0.9, 0.5)]
    found.forget(0)
    assert found.losers(settled=0) == [1, 2]
    found.leave(1)
    found.leave(2)
    found.add(0, 3, 0.05)
    assert found.next(0) is None
    found.add(0, 4, 0.04)
    assert found.next(0) == (3, 0)  # the best half of the two that count


def test_a_loser_has_its_rank_and_the_last_score_that_goes_on() -> None:
    found = Promotions(1, 3)
    for trial, score in enumerate([0.5, 0.2, 0.4, 0.3, 0.4]):
        found.add(0, trial, score)
    # ceil(5 / 3) = 2 go on: 0, and of the two with 0.4 the earlier, 2
    assert [found.next(1), found.next(1), found.losers(1)] == [(0, 0), (2, 0), [1, 3, 4]]
    assert found.why_lost(1, 0, 6) == EarlyStop(6, 0.2, 0.4, rank=5, scores=5, judged="copy")
    assert found.why_lost(3, 0, 6) == EarlyStop(6, 0.3, 0.4, rank=4, scores=5, judged="copy")
    assert found.why_lost(4, 0, 6) == EarlyStop(6, 0.4, 0.4, rank=2, scores=5, judged="copy")
    found.forget(0)
    assert found.why_lost(1, 0, 6) is None
