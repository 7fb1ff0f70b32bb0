"""Rank correlations by hand."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from ltat_tune.results.rung_quality import rung_quality
from ltat_tune.search.rungs import Rungs


def _row(end: float, **scores: float) -> FrozenTrial:
    values = {int(name[1:]): score for name, score in scores.items()}
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE, value=end, intermediate_values=values
    )


def test_each_rung_is_held_against_the_end() -> None:
    # ranks at epoch 3 against the end: (1, 2, 3, 4) and (1, 3, 2, 4), so
    # 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8
    rows = [
        _row(0.1, e3=0.1, e9=0.4), _row(0.3, e3=0.2, e9=0.3), _row(0.2, e3=0.3, e9=0.2),
        _row(0.4, e3=0.4),
    ]  # fmt: skip
    found = rung_quality(Rungs((9,), (), probes=(3,), probe_epochs=2), rows)
    assert [one.as_data() for one in found] == [
        {"kind": "probe", "epochs": 3, "trials": 4, "correlation": pytest.approx(0.8)},
        {"kind": "prefix", "epochs": 9, "trials": 3, "correlation": None},
    ]


def test_equal_scores_have_no_correlation() -> None:
    rows = [_row(0.1 * i, e2=0.5) for i in range(5)]
    (found,) = rung_quality(Rungs((), (), copies=(2,)), rows)
    assert (found.kind, found.trials, found.correlation) == ("copy", 5, None)
