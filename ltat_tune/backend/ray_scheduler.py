"""Adapts the study's own early stopping to Ray's scheduler interface."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ltat_tune.backend.ray_searcher import decoded
from ltat_tune.backend.work import lets_go_on
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.task import Task


class StoppingScheduler(FIFOScheduler):
    """Stops weak search trials. Copies, confirmations and looks always run to their end."""

    def __init__(self, stopping: EarlyStopping) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stopping = stopping

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Answer Ray's question after each report."""
        goes_on = lets_go_on(self._stopping, Task.from_json(trial.config["task"]), decoded(result))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)
