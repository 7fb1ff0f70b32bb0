"""Asks the race and the surrogate what trains next, with the trials that the ledger holds."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from ltat_tune.search.predict.chooser import Action, Chooser
from ltat_tune.search.predict.observed import Observed, observe
from ltat_tune.search.quota import OWED, Quota, as_racer
from ltat_tune.search.rungs import Rungs
from ltat_tune.storage.ledger import Ledger


def next_action(
    chooser: Chooser,
    ledger: Ledger,
    scenario: str,
    rungs: Rungs,
    quota: Quota,
    *,
    given_up: Container[int] = (),
) -> Action | None:
    """Return the next training; None if nothing is new.

    What the trials of the other scenarios tell counts too.

    Args:
        chooser: the surrogate of the scenario.
        ledger: its trials.
        scenario: its name.
        rungs: the lengths of copies.
        quota: what each choice is owed.
        given_up: trials that must not go on.
    """
    trials = [as_racer(row) for row in ledger.rows(scenario)]
    owed = quota.due(trials, ledger.left(scenario))
    seen = [
        replace(trial, waits=trial.waits and trial.number not in given_up)
        for trial in _seen(ledger, scenario, rungs)
    ]
    others = [_seen(ledger, other, rungs) for other in ledger.scenarios if other != scenario]
    return chooser.next(
        seen, lambda params: ledger.trains_already(scenario, params), left=ledger.left(scenario),
        others=others, owed=owed, reserved=quota.left(trials),
    )  # fmt: skip


def propose(
    ledger: Ledger, scenario: str, quota: Quota, action: Action | None
) -> tuple[int, dict[str, Any]]:
    """Begin the trial that the surrogate chose; by default, one that is owed or the sampler's.

    Raises:
        SearchExhausted: every configuration has been tried.
    """
    if action is not None:
        return ledger.propose(scenario, action.params, copy_first=action.copy)
    owed = None
    if not ledger.has_queued(scenario):  # start points come first
        trials = [as_racer(row) for row in ledger.rows(scenario)]
        owed = quota.due(trials, ledger.left(scenario))
    if owed is None:
        return ledger.propose(scenario)
    start = owed.start
    if start is None or ledger.trains_already(scenario, start):
        start = owed.values
    return ledger.propose(scenario, start, within=owed.values)


def mark_owed(
    quota: Quota, ledger: Ledger, scenario: str, number: int, params: Mapping[str, Any]
) -> bool:
    """Note whether a trial trains whole because one of its choices is owed trials."""
    rows = ledger.rows(scenario)
    if any(row.number == number and row.user_attrs.get(OWED) for row in rows):
        return True
    if not quota.owes(params, [as_racer(row) for row in rows if row.number != number]):
        return False
    ledger.note(scenario, number, **{OWED: True})
    return True


def waiting_trials(
    ledger: Ledger, scenario: str, rungs: Rungs, given_up: Container[int] = ()
) -> list[int]:
    """Return the trials whose copy ended, and whose whole training has not begun."""
    waiting = [trial.number for trial in _seen(ledger, scenario, rungs) if trial.waits]
    return [number for number in waiting if number not in given_up]


def _seen(ledger: Ledger, scenario: str, rungs: Rungs) -> list[Observed]:
    return observe(ledger.rows(scenario), copy_epochs=sum(rungs.copies))
