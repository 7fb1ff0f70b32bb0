"""Reads from a row of the ledger the trial's state, its score, and whether it keeps the bounds."""

from __future__ import annotations

from typing import Protocol

from optuna.trial import FrozenTrial


class Rows(Protocol):
    """The part of a ledger that results are read from; `trials.LedgerView` has it too."""

    def finished(self, scenario: str) -> list[FrozenTrial]:
        """Return the rows that ended, whatever their state."""
        ...

    def exhausted(self, scenario: str) -> str:
        """Return why a search ended before its trials: a sentence, or an empty text."""
        ...


def state_of(row: FrozenTrial) -> str:
    """Return complete, pruned, failed, diverged or running."""
    return str(row.user_attrs.get("state", "running" if not row.state.is_finished() else "failed"))


def score_of(row: FrozenTrial) -> float | None:
    """Return the first objective's metric of a complete trial, else None."""
    values: list[float] | None = row.values
    return values[0] if values and state_of(row) == "complete" else None


def is_feasible(row: FrozenTrial) -> bool:
    """Return whether a complete trial keeps every bound of `objective.at_least`."""
    return all(violation <= 0 for violation in row.constraints.values())
