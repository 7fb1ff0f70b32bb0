"""An Optuna study whose samplers learn from trials that passed a rung and have not ended."""

from __future__ import annotations

import copy
from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState


class JudgedStudy(optuna.Study):
    """Shows samplers a running trial that passed a rung as a pruned one, with its rung's score.

    A trial that waits for its promotion, or trains on after a rung, is RUNNING in the storage for
    as long as it may still end otherwise; to Optuna's samplers that says nothing, or that it is
    bad. What they ask is answered by `_get_trials` alone (Optuna 5.0).
    """

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        if not use_cache:  # not a sampler: everybody else wants the rows as they are
            return super()._get_trials(deepcopy, states, use_cache)
        rows = [_as_judged(row) for row in super()._get_trials(False, None, use_cache)]
        found = [row for row in rows if states is None or row.state in states]
        return copy.deepcopy(found) if deepcopy else found


def _as_judged(row: FrozenTrial) -> FrozenTrial:
    if row.state != TrialState.RUNNING or not row.intermediate_values:
        return row
    judged = copy.copy(row)
    judged.state = TrialState.PRUNED
    return judged
