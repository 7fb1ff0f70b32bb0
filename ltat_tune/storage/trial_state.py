"""What a row of the ledger says of a trial: its state, its score, whether it keeps the bounds."""

from __future__ import annotations

from typing import Protocol

from optuna.trial import FrozenTrial


class Rows(Protocol):
    """What is asked of a ledger to say what was found; `trials.LedgerView` has it too."""

    def finished(self, scenario: str) -> list[FrozenTrial]:
        """Rows that ended, whatever their state."""
        ...

    def exhausted(self, scenario: str) -> str:
        """Why a search ended before its trials: a sentence, or nothing."""
        ...


def state_of(row: FrozenTrial) -> str:
    """complete | pruned | failed | diverged, or running."""
    return str(row.user_attrs.get("state", "running" if not row.state.is_finished() else "failed"))


def score_of(row: FrozenTrial) -> float | None:
    """The objective's own metric of a complete trial, whatever else was pushed beside it."""
    values: list[float] | None = row.values
    return values[0] if values and state_of(row) == "complete" else None


def is_feasible(row: FrozenTrial) -> bool:
    """Whether a complete trial keeps every bound of `objective.at_least`."""
    return all(violation <= 0 for violation in row.constraints.values())
