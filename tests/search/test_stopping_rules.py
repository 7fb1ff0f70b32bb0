"""Successive halving by hand, and what of it Ray hears."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from ltat_tune.backend.ray_scheduler import StoppingScheduler
from ltat_tune.search.early_stop import EarlyStop
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stopping_rules import (
    EarlyStopping,
    Hyperband,
    MedianStopping,
    Rule,
    RungStanding,
    SuccessiveHalving,
)
from ltat_tune.space.spec import SchedulerSpec
from ltat_tune.storage.task import Task, TaskKind

METRIC = "val/pgd20_acc"


def _goes_on(rule: Rule, trial: str, epoch: int, value: float) -> bool:
    return rule.record(trial, epoch, value) is None


# -- the rule -----------------------------------------------------------------------------------


def test_the_first_go_on_and_then_only_the_best_third() -> None:
    halving = SuccessiveHalving((1,), 3)
    stops = [halving.record(f"t{i}", 1, value) for i, value in enumerate([0.1, 0.2, 0.15])]
    # one and two have no third; of three, ceil(3 / 3) = 1 goes on: 0.2
    assert stops == [None, None, EarlyStop(1, 0.15, threshold=0.2, rank=2, scores=3)]
    assert halving.record("t3", 1, 0.2) is None  # of four, ceil(4 / 3) = 2: 0.2 and 0.2
    # of five, 2: 0.2 and 0.2; they and nothing else are better
    assert halving.record("t4", 1, 0.19) == EarlyStop(1, 0.19, threshold=0.2, rank=3, scores=5)
    assert halving.record("t5", 1, 0.3) is None  # of six, 2: 0.3 and 0.2
    # of seven, 3: 0.3, 0.2, 0.2; the other 0.19 is as good
    assert halving.record("t6", 1, 0.19) == EarlyStop(1, 0.19, threshold=0.2, rank=4, scores=7)


@pytest.mark.parametrize(("eta", "free"), [(2, 1), (2.5, 2), (3, 2), (4, 3)])
def test_fewer_than_eta_are_never_judged(eta: float, free: int) -> None:
    halving = SuccessiveHalving((1,), eta)
    falling = [_goes_on(halving, f"t{i}", 1, -float(i)) for i in range(free + 1)]
    assert falling == [True] * free + [False]


def test_equal_scores_share_their_fate() -> None:
    halving = SuccessiveHalving((1,), 3)
    assert all(_goes_on(halving, f"t{i}", 1, 0.5) for i in range(9))
    assert not _goes_on(halving, "worse", 1, 0.4)


def test_a_trial_told_twice_of_a_rung_is_not_judged_twice() -> None:
    halving = SuccessiveHalving((1,), 3)
    assert _goes_on(halving, "first", 1, 0.1)
    assert _goes_on(halving, "first", 1, 0.1)
    assert _goes_on(halving, "first", 2, 0.0)
    assert _goes_on(halving, "second", 1, 0.05)  # the second that came, not the fourth
    assert _goes_on(halving, "third", 1, 0.2)
    assert _goes_on(halving, "first", 1, 0.1)  # it would not be the best third now


def test_every_rung_is_judged_by_its_own_scores() -> None:
    halving = SuccessiveHalving((1, 3), 2)
    assert _goes_on(halving, "a", 1, 0.9)
    assert _goes_on(halving, "b", 1, 0.95)
    assert _goes_on(halving, "a", 3, 0.5)
    assert not _goes_on(halving, "b", 3, 0.4)


def test_between_rungs_nothing_is_judged() -> None:
    halving = SuccessiveHalving((2, 6), 2)
    assert _goes_on(halving, "a", 1, 0.9)
    assert _goes_on(halving, "b", 1, 0.1)
    assert _goes_on(halving, "a", 2, 0.9)
    assert not _goes_on(halving, "b", 2, 0.1)
    assert _goes_on(halving, "a", 5, 0.0)


def test_a_score_between_two_rungs_stands_on_none() -> None:
    halving = SuccessiveHalving((2, 4), 2)
    assert _goes_on(halving, "a", 3, 0.5)
    assert _goes_on(halving, "b", 3, 0.1)
    assert _goes_on(halving, "b", 4, 0.1)
    assert not _goes_on(halving, "a", 4, 0.05)


def test_without_rungs_every_trial_goes_on() -> None:
    halving = SuccessiveHalving((), 3)
    assert all(_goes_on(halving, f"t{i}", 1, -float(i)) for i in range(9))


def test_hyperbands_later_brackets_judge_later() -> None:
    # Two rungs and eta 2: brackets in the shares 4, 2, 1, so trials 0..3 are judged at rungs 1
    # and 2, trials 4 and 5 at rung 2 only, trial 6 never; then it begins anew.
    rule = Hyperband((1, 2), 2)
    first = [_goes_on(rule, f"a/t{i:04d}", 1, -float(i)) for i in range(7)]
    assert first == [True, False, False, False, True, True, True]
    second = [_goes_on(rule, f"a/t{i:04d}", 2, -float(i)) for i in (0, 4, 5, 6)]
    assert second == [True, True, False, True]
    stop = rule.record("a/t0007", 1, -9.0)
    # the bracket's five are 0, -1, -2, -3 and -9; three go on
    assert stop == EarlyStop(1, -9.0, threshold=-2.0, rank=5, scores=5, bracket=True)


def test_median_stopping_compares_the_best_so_far_with_the_others() -> None:
    rule = MedianStopping((2, 3))
    for i, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.5]):
        assert _goes_on(rule, f"t{i}", 2, value)  # fewer than five others
    assert _goes_on(rule, "t5", 2, 0.3)  # the median of the five
    # of six: (0.3 + 0.3) / 2, which four of them reach
    stop = rule.record("t6", 2, 0.29)
    assert stop == EarlyStop(2, 0.29, threshold=0.3, rank=5, scores=7, judged="best")
    assert _goes_on(rule, "peaked", 1, 0.6)
    assert _goes_on(rule, "peaked", 2, 0.0)  # its best is what counts


# -- what Ray hears -----------------------------------------------------------------------------


def _trial(number: int, kind: TaskKind = "trial", scenario: str = "a") -> Any:
    task = Task(
        key=f"{scenario}/t{number:04d}", kind=kind, scenario=scenario, config={}, folder="",
        cache="", threads=1, device="cpu", epochs=9,
    )  # fmt: skip
    return SimpleNamespace(config={"task": task.to_json()})


def _result(value: float | None, epoch: int = 3, *, replayed: bool = False) -> dict[str, Any]:
    metrics = {} if value is None else {METRIC: value}
    report = {"epoch": epoch, "metrics": metrics, "replayed": replayed}
    return {name: json.dumps(written) for name, written in report.items()}


def _stopping(*leaders: int) -> EarlyStopping:
    """Two scenarios, one rung at epoch 3, eta 2; in scenario a these trials have 0.5 there."""
    stopping = EarlyStopping(
        METRIC, Rungs((3,), ()), SchedulerSpec(reduction_factor=2), ("a", "b")
    )
    for number in leaders:
        stopping.put_back("a", f"a/t{number:04d}", {3: 0.5})
    return stopping


def _verdict(stopping: EarlyStopping, trial: Any, result: dict[str, Any]) -> str:
    """What Ray is told."""
    return StoppingScheduler(stopping).on_trial_result(None, trial, result)


def test_a_weak_trial_is_stopped_and_known_as_such() -> None:
    stopping = _stopping(0)
    verdict = _verdict(stopping, _trial(1), _result(0.4))
    assert verdict == TrialScheduler.STOP
    assert stopping.stopped == {
        "a/t0001": EarlyStop(3, 0.4, threshold=0.5, rank=2, scores=2)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("trial", "result"),
    [
        (_trial(1), _result(0.6)),
        (_trial(1), _result(0.4, epoch=2)),
        (_trial(1), _result(0.4, epoch=9)),
        (_trial(0), _result(0.4, replayed=True)),
        (_trial(1), _result(None)),
        (_trial(1), {"event": "{}"}),
        (_trial(1, "confirmation"), _result(0.4)),
        (_trial(1, "test"), _result(0.4)),
        (_trial(1, scenario="b"), _result(0.4)),
    ],
    ids=["strong", "before the rung", "at its end", "judged before", "not validated", "last event",
         "confirmation", "test", "other scenario"],
)  # fmt: skip
def test_all_others_go_on(trial: Any, result: dict[str, Any]) -> None:
    stopping = _stopping(0)
    assert _verdict(stopping, trial, result) == TrialScheduler.CONTINUE
    assert stopping.stopped == {}


def test_a_replayed_epoch_that_nobody_lived_to_judge_is_judged() -> None:
    stopping = _stopping(0)
    assert _verdict(stopping, _trial(1), _result(0.4, replayed=True)) == TrialScheduler.STOP


def test_a_trial_is_judged_by_its_probe_where_one_is_due() -> None:
    rungs = Rungs((5,), (), probes=(3,), probe_epochs=1)
    stopping = EarlyStopping(METRIC, rungs, SchedulerSpec(reduction_factor=2), ("a",))
    stopping.put_back("a", "a/t0000", {3: 0.5, 5: 0.7})

    def verdict(number: int, epoch: int, **metrics: float) -> str:
        shown = {name.replace("__", "/"): value for name, value in metrics.items()}
        report = {"epoch": epoch, "metrics": shown, "replayed": False}
        written = {name: json.dumps(value) for name, value in report.items()}
        return _verdict(stopping, _trial(number), written)

    stop, go = TrialScheduler.STOP, TrialScheduler.CONTINUE
    assert verdict(1, 3, val__pgd20_acc=0.9, probe__pgd20_acc=0.4) == stop
    assert verdict(2, 3, val__pgd20_acc=0.1, probe__pgd20_acc=0.6) == go
    assert verdict(3, 3, val__pgd20_acc=0.1) == go, "a probe that diverged says nothing"
    assert verdict(2, 4, val__pgd20_acc=0.0) == go
    assert verdict(2, 5, val__pgd20_acc=0.6) == stop, "behind 0.7"
    assert stopping.stopped == {
        "a/t0001": EarlyStop(3, 0.4, threshold=0.5, rank=2, scores=2, judged="probe"),
        "a/t0002": EarlyStop(5, 0.6, threshold=0.7, rank=2, scores=2),
    }


def test_after_a_restart_trials_are_judged_as_if_it_had_not_been() -> None:
    whole, first = _stopping(), _stopping()
    scores = [0.5, 0.4, 0.6, 0.3, 0.55]
    verdicts = [_verdict(whole, _trial(i), _result(v)) for i, v in enumerate(scores)]
    for i, value in enumerate(scores[:3]):
        _verdict(first, _trial(i), _result(value))
    second = _stopping()
    for i, value in enumerate(scores[:3]):
        second.put_back("a", f"a/t{i:04d}", {3: value, 1: 0.0})
    later = [_verdict(second, _trial(i), _result(scores[i])) for i in (3, 4)]
    assert later == verdicts[3:]
    assert second.stopped == {"a/t0003": whole.stopped["a/t0003"]}
    assert whole.stopped["a/t0003"].sentence == (
        "30.0 % at epoch 3 is rank 4 of 4, below the threshold of 50.0 %"
    )


# -- as they stand ------------------------------------------------------------------------------


def test_a_rung_tells_how_many_reached_it_and_what_it_asks() -> None:
    halving = SuccessiveHalving((1, 3), 3)
    for i, value in enumerate([0.1, 0.2, 0.15, 0.18]):
        halving.record(f"t{i}", 1, value)
    halving.record("t1", 3, 0.4)
    # of four, ceil(4 / 3) = 2 go on: 0.2 and 0.18; one at epoch 3 stops nobody
    assert halving.standings() == [RungStanding(1, 4, 0.18), RungStanding(3, 1, None)]


def test_brackets_have_no_common_threshold_and_the_median_rule_asks_for_the_median() -> None:
    brackets, median = Hyperband((1, 3), 3), MedianStopping((1,))
    for i, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.6]):
        brackets.record(f"t{i}", 1, value)
        median.record(f"t{i}", 1, value)
    assert [(rung.epoch, rung.threshold) for rung in brackets.standings()] == [
        (1, None),
        (3, None),
    ]
    assert sum(rung.trials for rung in brackets.standings()) == 5
    assert median.standings() == [RungStanding(1, 5, 0.3)]


@pytest.mark.parametrize(
    "new",
    [lambda: SuccessiveHalving((2,), 3), lambda: Hyperband((2,), 3), lambda: MedianStopping((2,))],
)
def test_a_trial_stops_exactly_below_the_threshold_that_was_told_before(
    new: Callable[[], Rule],
) -> None:
    rule, stopped = new(), 0
    for number, value in enumerate(random.Random(0).choices([i / 20 for i in range(20)], k=60)):
        threshold = rule.threshold(f"t{number}", 2)
        stop = rule.record(f"t{number}", 2, value)
        assert (stop is not None) == (threshold is not None and value < threshold)
        if stop is not None:
            assert stop.threshold == threshold
            stopped += 1
    assert stopped > 10


def test_thresholds_are_of_the_rungs_that_others_have_reached_in_numbers() -> None:
    stopping = EarlyStopping(METRIC, Rungs((2, 4), ()), SchedulerSpec(reduction_factor=3), ("a",))
    for number, score in enumerate((0.1, 0.3, 0.2)):
        stopping.put_back("a", f"a/t{number:04d}", {2: score} | ({4: score} if number else {}))
    # at epoch 2 the newcomer is the fourth, and ceil(4 / 3) = 2 go on: it must reach 0.2;
    # at epoch 4 it is the third, and one goes on: it must reach 0.3
    assert stopping.thresholds("a", "a/t0003") == {2: 0.2, 4: 0.3}
    # its own score does not count against itself: of three, one goes on
    assert stopping.thresholds("a", "a/t0001") == {2: 0.2}
