"""Reads from the rows of a ledger what a surrogate learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from ltat_tune.search.searchers import extended
from ltat_tune.space.space import Space

COPY_FIRST = "copy_first"  # the fact of a row that began with a copy
_CREDIBLE = "credible"  # no metric, but a bound all the same: a doubted trial is not the best


@dataclass(frozen=True)
class Observed:
    """One configuration, and what is known of it.

    Attributes:
        params: its values.
        number: the trial's number.
        copy: the score of its copy, or None.
        values: the final value of each objective, the first one deciding; None until it ends.
        slack: of each bound of `objective.at_least`, how far a complete trial is above it.
        busy: what trains now or waits for a slot.
        waits: whether its copy ended, and its whole training has not begun.
        diverged: whether it diverged, as a copy or whole.
    """

    params: Mapping[str, Any]
    number: int = 0
    copy: float | None = None
    values: tuple[float, ...] | None = None
    slack: Mapping[str, float] | None = None
    busy: Literal["", "copy", "whole"] = ""
    waits: bool = False
    diverged: bool = False

    @property
    def began_whole(self) -> bool:
        """Whether its whole training began."""
        return self.values is not None or self.busy == "whole"


def observe(
    rows: Iterable[FrozenTrial], *, copy_epochs: int, measured: bool = False
) -> list[Observed]:
    """Return what the rows of a scenario's trials say.

    A trial that a prefix rung stopped counts as `extended` says. A doubted trial has what the
    second opinion left of its values, and is not the best as long as one is credible.

    Args:
        rows: the trials.
        copy_epochs: length of a copy; 0 if there are none.
        measured: let trials that were stopped count for nothing.
    """
    rows = list(rows)
    ends = rows if copy_epochs or measured else extended(rows)
    ranks = any(row.state == TrialState.COMPLETE and not is_doubted(row) for row in rows)
    return [_observed(row, end, copy_epochs, ranks) for row, end in zip(rows, ends, strict=True)]


def is_doubted(row: FrozenTrial) -> bool:
    """Return whether a complete trial's score is too good: only such a trial has a reason."""
    return row.user_attrs.get("state") == "complete" and bool(row.user_attrs.get("reason"))


def _observed(row: FrozenTrial, end: FrozenTrial, copy_epochs: int, ranks: bool) -> Observed:
    copy = row.intermediate_values.get(copy_epochs) if began_with_copy(row) else None
    diverged = row.user_attrs.get("state") == "diverged"
    running = not row.state.is_finished()
    promoted = not began_with_copy(row) or int(row.user_attrs.get("promoted", 0)) > 0
    values = end.values if end.state == TrialState.COMPLETE and not diverged else None
    slack = {metric: -violation for metric, violation in row.constraints.items()}
    if ranks and is_doubted(row):
        slack[_CREDIBLE] = -1.0  # its values are what the second opinion left of them
    return Observed(
        row.params, row.number, copy,
        None if values is None else tuple(values),
        slack,
        "" if not running else "whole" if promoted else "copy" if copy is None else "",
        waits=running and not promoted and copy is not None,
        diverged=diverged,
    )  # fmt: skip


def lent_to(space: Space, scenario: str) -> list[list[Observed]]:
    """Return the trials of an earlier study that a warm start lends to a scenario."""
    return [
        [Observed(params, values=(score,)) for params, score in trials]
        for trials in space.lent.get(scenario, ())
    ]


def began_with_copy(row: FrozenTrial) -> bool:
    """Return whether a row's first training is a copy."""
    return bool(row.user_attrs.get(COPY_FIRST))


def whole_trainings(rows: Sequence[FrozenTrial], copy_cost: float) -> float:
    """Return what the trials cost, in whole trainings: each begun one counts as it would end.

    Args:
        rows: the trials.
        copy_cost: cost of a copy, in whole trainings.
    """
    copies = [row for row in rows if began_with_copy(row)]
    promoted = sum(int(row.user_attrs.get("promoted", 0)) > 0 for row in copies)
    return len(rows) - len(copies) + promoted + copy_cost * len(copies)
