"""ASHA as Ray asks for it: one set of rungs per scenario, rebuilt from the ledger on resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ltat_tune.study.tasks import Task


class SuccessiveHalving:
    """The stopping rule of ASHA (Li2020System, arXiv:1810.05934) over given rungs.

    A trial that reaches a rung goes on if it is among the best 1/reduction_factor of all that have
    reached it, itself included; while fewer than reduction_factor have, every one goes on.

    Args:
        rungs: epochs, from 1, in rising order.
        reduction_factor: eta > 1.
    """

    def __init__(self, rungs: tuple[int, ...], reduction_factor: float) -> None:
        self._factor = reduction_factor
        self._values: dict[int, dict[str, float]] = {rung: {} for rung in rungs}

    def record(self, trial: str, epoch: int, value: float) -> bool:
        """Notes a score; True if the trial should go on.

        A rung takes the first score at or behind it. A trial that is told again of a rung that it
        has passed, after a restart, is never judged there twice.
        """
        goes_on = True
        for rung, values in self._values.items():
            if epoch < rung or trial in values:
                continue
            values[trial] = value
            keep = math.ceil(len(values) / self._factor)
            if len(values) >= self._factor:
                goes_on &= value >= sorted(values.values(), reverse=True)[keep - 1]
        return goes_on


class Asha(FIFOScheduler):
    """Stops weak search trials; confirmations and tests always run to their end."""

    def __init__(
        self,
        metric: str,
        rungs: tuple[int, ...],
        reduction_factor: float,
        scenarios: tuple[str, ...],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._metric = metric
        self._halving = {s: SuccessiveHalving(rungs, reduction_factor) for s in scenarios}
        self.stopped: set[str] = set()

    def put_back(self, scenario: str, trial: str, values: Mapping[int, float]) -> None:
        """Puts the scores of an ended trial, epoch -> value, back on the rungs."""
        for epoch in sorted(values):
            self._halving[scenario].record(trial, epoch, values[epoch])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's question after each report."""
        if "epoch" not in result:
            return str(TrialScheduler.CONTINUE)
        task = Task.from_json(trial.config["task"])
        value = json.loads(result["metrics"]).get(self._metric)
        if task.kind != "trial" or value is None:
            return str(TrialScheduler.CONTINUE)
        epoch = int(json.loads(result["epoch"]))
        goes_on = self._halving[task.scenario].record(task.key, epoch, value)
        # What a checkpoint replays was judged, and found good enough, before the interruption.
        if goes_on or json.loads(result["replayed"]) or epoch >= task.epochs:
            return str(TrialScheduler.CONTINUE)
        self.stopped.add(task.key)
        return str(TrialScheduler.STOP)
