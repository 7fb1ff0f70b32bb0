"""Runs a study's tasks one after another in the driver's own process, without Ray.

Breakpoints work, tracebacks are complete, and a plugin can be debugged. The worker function, the
queue, the rungs, the ledger and MLflow are the same as in every study.
"""

from __future__ import annotations

import itertools
from typing import Any

from ltat_tune.backend.work import NoTask, RunTask, Work, lets_go_on
from ltat_tune.errors import GPULost
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.task import Task


class _TaskEnds(BaseException):
    """Ends a task at a report. No `except Exception` of a task catches it."""


def run_in_process(work: Work, run_task: RunTask, stopping: EarlyStopping) -> None:
    """Run all tasks here, until there are no more or the work is to stop.

    A task ends at its next report once a rung stops it or the work is to stop. If the work stops,
    a resume takes the task up again.

    Args:
        work: hands tasks out and takes reports.
        run_task: does one task.
        stopping: ends search trials at rungs.
    """
    for number in itertools.count():
        slot = f"task-{number}"
        task = work.next_task(slot)
        if isinstance(task, NoTask):  # with one slot, no running task could add more
            return
        last = _run(work, slot, task, run_task, stopping)
        work.on_end(slot, last, error=False)


def _run(
    work: Work, slot: str, task: Task, run_task: RunTask, stopping: EarlyStopping
) -> dict[str, Any]:
    """Do one task. Return its last report."""
    last: dict[str, Any] = {}

    def report(values: dict[str, Any]) -> None:
        last.clear()
        last.update(values)
        if "event" in values:
            return
        # judged first: an epoch that is in the ledger is never judged again
        goes_on = lets_go_on(stopping, task, values)
        work.on_report(slot, values)
        if work.stop_reason is not None or not goes_on:
            raise _TaskEnds

    try:
        run_task(task, report)
    except _TaskEnds:
        pass
    except GPULost as lost:  # this process, which is the driver's, has no GPU any more
        work.stop(str(lost))
        last.clear()
    return last
