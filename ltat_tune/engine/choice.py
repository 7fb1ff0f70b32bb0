"""Asks the surrogate what trains next, with the trials that the ledger holds."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from ltat_tune.search.predict.chooser import Action, Chooser
from ltat_tune.search.predict.observed import Observed, observe
from ltat_tune.search.rungs import Rungs
from ltat_tune.storage.ledger import Ledger


def next_action(
    chooser: Chooser,
    ledger: Ledger,
    scenario: str,
    rungs: Rungs,
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
        given_up: trials that must not go on.
    """
    seen = [
        replace(trial, waits=trial.waits and trial.number not in given_up)
        for trial in _seen(ledger, scenario, rungs)
    ]
    others = [_seen(ledger, other, rungs) for other in ledger.scenarios if other != scenario]
    return chooser.next(
        seen, lambda params: ledger.trains_already(scenario, params),
        left=ledger.left(scenario), others=others,
    )  # fmt: skip


def waiting_trials(ledger: Ledger, scenario: str, rungs: Rungs) -> list[int]:
    """Return the trials whose copy ended, and whose whole training has not begun."""
    return [trial.number for trial in _seen(ledger, scenario, rungs) if trial.waits]


def _seen(ledger: Ledger, scenario: str, rungs: Rungs) -> list[Observed]:
    return observe(ledger.rows(scenario), copy_epochs=sum(rungs.copies))
