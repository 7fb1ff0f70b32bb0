"""Adapts the work queue to Ray Tune's searcher interface. The queue itself does not know Ray."""

from __future__ import annotations

import json
from typing import Any

from ray.tune.search import Searcher

from ltat_tune.backend.work import NoTask, Report, Work

_REPORTED = ("event", "epoch", "metrics", "memory", "epoch_seconds", "replayed",
             "note", "look")  # fmt: skip


def encoded(report: Report) -> dict[str, str]:
    """Make one flat report of texts: Ray would rename nested values on their way."""
    return {name: json.dumps(value) for name, value in report.items()}


def decoded(result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the worker's report without the values that Ray adds."""
    return {name: json.loads(result[name]) for name in _REPORTED if name in (result or {})}  # type: ignore[index]


class QueueSearcher(Searcher):
    """Asks a study's work for tasks, and hands reports back to it.

    Args:
        work: the study's.
        metric: the objective's name, which Ray requires and nothing reads.
    """

    def __init__(self, work: Work, metric: str) -> None:
        super().__init__(metric=metric, mode="max")
        self._work = work

    def suggest(self, trial_id: str) -> Any:
        """Return the next task for Ray, None while there is none, or Searcher.FINISHED."""
        task = self._work.next_task(trial_id)
        if task is NoTask.FINISHED:
            return Searcher.FINISHED
        if isinstance(task, NoTask):
            return None
        return {"task": task.to_json(), "slots": self._work.room(task)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand on a report of a task that goes on."""
        self._work.on_report(trial_id, decoded(result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hand on the end of a task: its own, by the scheduler, or because its worker died."""
        self._work.on_end(trial_id, decoded(result), error=error)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the ledger is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher for a restore that this study never makes
