"""What a backend needs of a study: tasks to run, a receiver of reports, and a worker function.

Both backends, Ray's and the in-process one, run the same worker function over the same queue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.task import Task

Report = Mapping[str, Any]  # an epoch's numbers, or the one last `event` of a task
ReportTo = Callable[[dict[str, Any]], None]
RunTask = Callable[[Task, ReportTo], None]
_REPORT_S = 1.0  # between two reports of how far a test has come


class NoTask(Enum):
    """The reason why a slot gets no task."""

    WAIT = "wait"  # there may be one later
    FINISHED = "finished"  # there will be none


class Work(Protocol):
    """A study's tasks, as a backend sees them. A `slot` names one run of a task."""

    @property
    def stop_reason(self) -> str | None:
        """The reason why the study stops before its end; None while it goes on."""
        ...

    def stop(self, reason: str) -> None:
        """Hand out no more tasks; keep the first reason."""
        ...

    def next_task(self, slot: str) -> Task | NoTask:
        """Hand out the next task, for the slot of this name."""
        ...

    def room(self, task: Task) -> int:
        """Return how many slots a task takes, all on one node."""
        ...

    def on_report(self, slot: str, report: Report) -> None:
        """Take in a report of a task that goes on."""
        ...

    def on_end(self, slot: str, report: Report | None, *, error: bool) -> None:
        """Take in the end of a task: its last report, and whether its worker died."""
        ...

    def on_hang(self, slot: str, seen: str) -> None:
        """Note that a task is about to be ended because it hangs."""
        ...


def part_reporter(report: ReportTo, what: str, total: int) -> Callable[[int], None]:
    """Return a function that reports how far a look has come, at most once a second.

    Args:
        report: gets `look`: what is measured, how much of it is done, and how much there is.
        what: the attack.
        total: its images; of a sentinel, its attacks.
    """
    last = -math.inf

    def on_part(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_S:
            last = time.monotonic()
            report({"look": {"what": what, "done": done, "total": total}})

    return on_part


def lets_go_on(stopping: EarlyStopping, task: Task, report: Report) -> bool:
    """Return whether early stopping lets a task go on after a report; it judges trials only."""
    if "epoch" not in report or task.kind != "trial":
        return True
    return stopping.goes_on(
        task.key, task.scenario, int(report["epoch"]), report["metrics"],
        last_epoch=task.epochs,
    )  # fmt: skip
