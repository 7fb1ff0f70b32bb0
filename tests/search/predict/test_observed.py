"""What the rows of a ledger say of each trial, and what the trials cost."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from ltat_tune.search.predict.observed import observe, whole_trainings


def _row(number: int, kind: TrialState, scores: dict[int, float], **facts: Any) -> FrozenTrial:
    value = 0.7 if kind == TrialState.COMPLETE else None
    row = create_trial(
        state=kind, value=value, user_attrs=facts, intermediate_values=scores
    )  # fmt: skip
    row.number = number
    return row


ROWS = [
    _row(0, TrialState.RUNNING, {}, copy_first=True),
    _row(1, TrialState.RUNNING, {6: 0.4}, copy_first=True),
    _row(2, TrialState.RUNNING, {6: 0.5}, copy_first=True, promoted=1),
    _row(3, TrialState.RUNNING, {}),
    _row(4, TrialState.COMPLETE, {6: 0.6}, copy_first=True, promoted=1, state="complete"),
    _row(5, TrialState.COMPLETE, {}, state="complete"),
    _row(6, TrialState.PRUNED, {6: 0.3}, copy_first=True, state="pruned"),
    _row(7, TrialState.PRUNED, {}, copy_first=True, state="diverged"),
    _row(8, TrialState.FAIL, {}, state="failed"),
]


def test_every_row_is_copied_trained_or_done() -> None:
    seen = observe(ROWS, copy_epochs=6)
    facts = [(o.busy, o.waits, o.copy, o.values, o.diverged) for o in seen]
    assert facts == [
        ("copy", False, None, None, False),
        ("", True, 0.4, None, False),
        ("whole", False, 0.5, None, False),
        ("whole", False, None, None, False),
        ("", False, 0.6, (0.7,), False),
        ("", False, None, (0.7,), False),
        ("", False, 0.3, None, False),
        ("", False, None, None, True),
        ("", False, None, None, False),
    ]
    assert [o.number for o in seen] == list(range(9))


def test_a_copy_costs_its_share_and_a_promotion_a_whole_training() -> None:
    # six rows are more than a copy: 2, 3, 4, 5, 8; six had a copy
    assert whole_trainings(ROWS, 0.1) == pytest.approx(5 + 0.6)


def test_a_trial_that_a_rung_stopped_counts_with_the_end_that_others_suggest() -> None:
    rows = [
        _row(0, TrialState.COMPLETE, {5: 0.4}, state="complete"),
        _row(1, TrialState.PRUNED, {5: 0.3}, state="pruned"),
    ]
    seen = observe(rows, copy_epochs=0)
    assert seen[1].values == pytest.approx((0.6,))  # 0.3, and the other's rise of 0.3


def test_of_several_objectives_a_stopped_trial_has_no_end() -> None:
    both = create_trial(
        state=TrialState.COMPLETE, values=[0.7, 0.9], user_attrs={"state": "complete"}
    )
    rows = [both, _row(1, TrialState.PRUNED, {5: 0.3}, state="pruned")]
    rows[0].number = 0
    assert [one.values for one in observe(rows, copy_epochs=0)] == [(0.7, 0.9), None]


def test_a_doubted_trial_is_not_the_best_as_long_as_one_is_credible() -> None:
    doubted = _row(0, TrialState.COMPLETE, {}, state="complete", reason="too good to be true")
    credible = _row(1, TrialState.COMPLETE, {}, state="complete")
    first, second = observe([doubted, credible], copy_epochs=0)
    assert (first.values, second.values) == ((0.7,), (0.7,))  # as the second opinion left it
    assert min((first.slack or {}).values()) < 0
    assert second.slack == {}
    (alone,) = observe([doubted], copy_epochs=0)
    assert alone.slack == {}


def test_what_a_stopped_trial_would_have_reached_counts_beside_one_objective() -> None:
    complete = _row(0, TrialState.COMPLETE, {2: 0.2}, state="complete")
    rows = [complete, _row(1, TrialState.PRUNED, {2: 0.3}, state="pruned")]
    rise = 0.7 - 0.2  # of the complete trial
    assert observe(rows, copy_epochs=0)[1].values == pytest.approx((0.3 + rise,))
    assert observe(rows, copy_epochs=0, measured=True)[1].values is None
    complete.values = [0.7, 0.9]
    assert observe(rows, copy_epochs=0)[1].values is None
