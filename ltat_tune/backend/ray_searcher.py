"""Adapts the work queue to Ray Tune's searcher interface. The queue itself does not know Ray."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection
from typing import Any

from ray.tune.search import Searcher

from ltat_tune.backend.work import NoTask, Report, Work

_EVERY_S = 1.0  # between two reports of a task whose epochs are shorter
_REPORTED = ("event", "epoch", "metrics", "memory", "epoch_seconds", "replayed",
             "note", "look")  # fmt: skip


def encoded(report: Report) -> dict[str, str]:
    """Make one flat report of texts: Ray would rename nested values on their way."""
    return {name: json.dumps(value) for name, value in report.items()}


def decoded(result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the worker's report without the values that Ray adds."""
    return {name: json.loads(result[name]) for name in _REPORTED if name in (result or {})}  # type: ignore[index]


def each(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all reports that came together, in order; the last is the one that Ray judges."""
    return [*json.loads(result.get("before", "[]")), decoded(result)]


class BundledReports:
    """Reports a task to Ray Tune, epochs that are shorter than a second together.

    Ray has one driver for all workers, and a worker waits until it has taken a report in. What may
    end the task is reported at once: an epoch that a rung judges, and the task's last event. A
    worker that dies loses no epoch of a bundle: it has saved them, and reports them again.

    Args:
        send: reports to Ray, such as `ray.tune.report`.
        judged: epochs at which rungs judge.
        clock: seconds.
    """

    def __init__(
        self,
        send: Callable[[dict[str, str]], None],
        judged: Collection[int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send, self._judged, self._clock = send, frozenset(judged), clock
        self._waiting: list[Report] = []
        self._sent = -math.inf

    def __call__(self, report: Report) -> None:
        """Report, or let the report wait for the next one."""
        waits = "epoch" in report and report["epoch"] not in self._judged
        if waits and self._clock() - self._sent < _EVERY_S:
            self._waiting.append(report)
            return
        before, self._waiting = self._waiting, []
        self._send({**encoded(report), **(encoded({"before": before}) if before else {})})
        self._sent = self._clock()


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
        """Hand on the reports of a task that goes on."""
        for report in each(result):
            self._work.on_report(trial_id, report)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hand on the end of a task: its own, by the scheduler, or because its worker died."""
        *before, last = each(result or {})  # again, where a task has ended by itself
        for report in before:
            self._work.on_report(trial_id, report)
        self._work.on_end(trial_id, last, error=error)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the ledger is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher for a restore that this study never makes
