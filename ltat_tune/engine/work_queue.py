"""Decides what a free slot does next, over all scenarios at once.

Each scenario runs its search trials, then confirmations of the best, then tests of the confirmed,
then the sentinel on the winner. While one scenario waits for its last trial, tasks of the others
fill the slots. Tests that do not fill the slots are preceded by parts of them, one a slot.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ltat_tune.backend.local.last_words import LAST_WORDS, cause_of_death
from ltat_tune.backend.work import NoTask, Report
from ltat_tune.engine.budget import BudgetKeeper
from ltat_tune.engine.observers.observer import Observer
from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.engine.task_factory import (
    confirmation_tasks,
    part_tasks,
    sentinel_tasks,
    test_tasks,
)
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import SEARCH, Outcome, Task

if TYPE_CHECKING:
    from ltat_tune.backend.cluster import Cluster

# What remains of each kind of task; a kind begins when the last task of the one before has ended.
_AFTER_SEARCH = {
    "confirmation": confirmation_tasks, "part": test_tasks, "test": test_tasks,
    "sentinel": sentinel_tasks,
}  # fmt: skip


class WorkQueue:
    """Hands out tasks, takes in their reports and updates the ledger.

    Args:
        space: the study's space.
        folder: the study's folder, which holds the tasks.
        ledger: the trials so far.
        stopping: the rules that stop trials early; the queue restores their rungs.
        slots: how many tasks run at once.
        device: the device on which tasks train.
        rungs: the epochs at which trials are judged.
        observers: they get every event.
        cluster: the cluster that runs the tasks; None is this machine.
        precision: that of all trainings which leave it to the device; None lets each one choose.
    """

    def __init__(
        self,
        space: Space,
        folder: StudyFolder,
        ledger: Ledger,
        stopping: EarlyStopping,
        *,
        slots: int,
        device: str,
        rungs: Rungs,
        observers: Sequence[Observer],
        cluster: Cluster | None = None,
        precision: str | None = None,
    ) -> None:
        self.space, self.folder, self.ledger, self.stopping = space, folder, ledger, stopping
        self._slots, self._device, self._precision = slots, device, precision
        self._largest, self._cluster = slots, cluster
        self._observers = observers
        self._live: dict[str, Task] = {}  # by slot
        self._reported: dict[str, int] = {}  # last epoch that observers got, by task key
        self._budget = BudgetKeeper(space, folder, rungs, slots=slots) if space.budget else None
        self._searches = {
            s.name: ScenarioSearch(
                space, folder, ledger, s.name, rungs, device=device, budget=self._budget
            )
            for s in space.scenarios
        }
        if self._budget is not None:
            self._budget.watch({name: s.claims for name, s in self._searches.items()})
        self._handed = {s.name: 0 for s in space.scenarios}
        self._waiting: dict[tuple[str, str], list[Task]] = {}  # by scenario and kind
        self._failures: list[Outcome] = []
        self._again: list[Task] = []  # ran out of memory; run next, with more room
        self._hangs: dict[str, str] = {}  # how a task hung last, by task key
        self._noted: set[str] = set()  # notes of workers; each is shown once
        self.stop_reason: str | None = None
        self.unconfirmed: list[str] = []  # confirmations, tests and sentinels that failed
        for scenario in space.scenarios:
            # a trial that is still to end was judged by the scores that its row has
            for row in (*ledger.finished(scenario.name), *ledger.unfinished(scenario.name)):
                stopping.put_back(
                    scenario.name, f"{scenario.name}/t{row.number:04d}", ledger.scores(row)
                )

    # -- calls of the backend --------------------------------------------------------------------

    def next_task(self, slot: str) -> Task | NoTask:
        """Return the next task for the slot of this name, or why there is none."""
        if self.stop_reason is not None:
            return NoTask.FINISHED
        # no smaller task may overtake one that waits for more room
        if self._taken() + (self.room(self._again[0]) if self._again else 1) > self._slots:
            return NoTask.WAIT
        try:
            task = self._again.pop(0) if self._again else self._next()
        except OSError as error:
            self.stop(f"cannot write into {self.folder.root}: {error}")
            return NoTask.FINISHED
        if task is None:
            return NoTask.WAIT if self._live else NoTask.FINISHED
        task = replace(task, precision=self._precision)
        self._live[slot] = task
        self._handed[task.scenario] += 1
        if task.kind == "trial" and self._searches[task.scenario].is_owed(task.number):
            self.stopping.spared.add(task.key)
        self._notify("on_start", task)
        return task

    def on_report(self, slot: str, report: Report) -> None:
        """Take in a report of a running task."""
        if slot in self._live:
            self._absorb(self._live[slot], report)

    def on_end(self, slot: str, report: Report | None, *, error: bool) -> None:
        """Take in the end of a task: its last event, a rung, an interruption, a dead worker."""
        task = self._live.pop(slot, None)
        if task is None:
            return
        report = report or {}
        self._absorb(task, report)
        event = report.get("event")
        if event is not None and event["state"] == "blocked":
            cause = Outcome("failed", 0, event["reason"]).cause
            remedy = event.get("remedy")
            self.stop(f"{cause}: {remedy}, then resume" if remedy else cause)
        elif event is not None and event["state"] == "out_of_memory":
            self._again.append(replace(task, spacious=True))
            self._notify("on_retry", task, "out of GPU memory; it runs again with a larger share")
        elif event is not None:
            trained = self._reported.get(task.key, 0)
            epoch = trained if task.kind in SEARCH else int(event.get("epoch", trained))
            self._finish(
                task,
                Outcome(
                    event["state"], epoch, event.get("reason", ""),
                    event.get("metrics"), event["seconds"], event.get("claimed"),
                    event.get("lent_s", 0.0),
                ),
            )  # fmt: skip
        elif task.key in self.stopping.stopped:
            why = self.stopping.stopped[task.key].sentence
            self._finish(task, Outcome("pruned", self._reported.get(task.key, 0), why))
        elif error and self._cluster is not None and (problem := self._cluster.settle()):
            self.stop(problem)  # the node's fault: the row stays RUNNING
        elif error and self.stop_reason is None:
            reason = f"its worker process died at every try; {cause_of_death(task.path)}"
            if task.key in self._hangs:
                reason = (
                    f"hangs: {self._hangs[task.key]}, at every try; if its epochs really take so "
                    "long, raise resources.hang_floor_s or hang_factor"
                )
            self._finish(task, Outcome("failed", self._reported.get(task.key, 0), reason))
        # otherwise the study is stopping: the row stays RUNNING, and a resume takes it over

    def on_hang(self, slot: str, seen: str) -> None:
        """Note that a task is about to be ended because it hangs; another try may follow."""
        if (task := self._live.get(slot)) is not None:
            self._hangs[task.key] = seen
            self._notify("on_retry", task, f"{seen}; its worker is killed")

    # -- calls of the study ---------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Hand out no more tasks; keep the first reason."""
        if self.stop_reason is None:
            self.stop_reason = reason

    def resize(self, slots: int, largest: int) -> None:
        """Take in that nodes joined or left.

        Args:
            slots: tasks that fit at once now; those in excess go on, or wait for a node.
            largest: tasks that fit on the largest node.
        """
        self._slots, self._largest = slots, largest
        if self._budget is not None:
            self._budget.slots = max(1, slots)

    def room(self, task: Task) -> int:
        """Return how many slots a task takes, all on one node."""
        return max(1, min(2, self._largest)) if task.spacious else 1

    # -- inside ---------------------------------------------------------------------------------

    def _next(self) -> Task | None:
        for scenario in sorted(self.space.scenarios, key=lambda s: self._handed[s.name]):
            task = self._next_of(scenario.name)
            if task is not None:
                return task
        return None

    def _next_of(self, scenario: str) -> Task | None:
        search = self._searches[scenario]
        task = search.next_task()
        if task is not None:
            return task
        for task, outcome in search.losers():
            self._finish(task, outcome)
        if search.trains:
            return None
        for kind, remaining in _AFTER_SEARCH.items():
            if (scenario, kind) not in self._waiting:
                tasks = remaining(
                    self.space, self.folder, self.ledger, scenario, device=self._device
                )
                if kind == "part":  # of the tests that remain
                    tasks = part_tasks(tasks, self.space, slots=self._slots)
                self._waiting[scenario, kind] = tasks
            if self._waiting[scenario, kind]:
                return self._waiting[scenario, kind].pop(0)
            if self._busy(scenario, kind):
                return None
        return None

    def _taken(self) -> int:
        return sum(self.room(task) for task in self._live.values())

    def _busy(self, scenario: str, kind: str) -> bool:
        return any(t.scenario == scenario and t.kind == kind for t in self._live.values())

    def _absorb(self, task: Task, report: Report) -> None:
        if (note := report.get("note")) and note not in self._noted:
            self._noted.add(note)
            self._notify("on_note", note)
        if (look := report.get("look")) is not None:
            self._notify("on_look", task, look["what"], look["done"], look["total"])
        if "epoch" not in report or "event" in report:
            return
        epoch, metrics = int(report["epoch"]), report["metrics"]
        if epoch <= self._reported.get(task.key, 0):
            return  # read back from a checkpoint after the worker died: reported before
        self._reported[task.key] = epoch
        if self._budget is not None:
            self._budget.on_epoch(task, report["epoch_seconds"], replayed=report["replayed"])
        if task.kind in SEARCH:
            search = self._searches[task.scenario]
            self._guard(lambda: search.absorb(task, epoch, metrics))
        measured = {**metrics, **report.get("memory", {})}
        self._notify("on_epoch", task, epoch, measured, report["epoch_seconds"])

    def _finish(self, task: Task, outcome: Outcome) -> None:
        if outcome.state != "complete":  # a complete training deletes the files itself
            with contextlib.suppress(OSError):
                (task.path / LAST_WORDS).unlink(missing_ok=True)
                (task.path / "checkpoint-earlier.pt").unlink(missing_ok=True)
        if self._budget is not None:
            self._budget.on_end(task, outcome)
        if task.kind in SEARCH:
            self._finish_stage(task, outcome)
        else:
            self._notify("on_end", task, outcome)
        if task.kind == "part":
            return  # the test measures what it left
        if task.kind not in SEARCH and outcome.state != "complete":
            self.unconfirmed.append(f"{task.title} {outcome.state}: {outcome.cause}")
        if task.kind == "sentinel":
            return  # its failure says nothing about the trainings to come
        if outcome.state != "failed":
            self._failures.clear()
            return
        self._failures.append(outcome)
        allowed = self.space.searcher.max_failures_in_a_row
        if len(self._failures) >= allowed:
            causes = {failure.cause for failure in self._failures}
            shared = next(iter(causes)) if len(causes) == 1 else f"{outcome.cause} (and others)"
            self.stop(f"{len(self._failures)} tasks in a row failed: {shared}")

    def _finish_stage(self, task: Task, outcome: Outcome) -> None:
        ends: list[tuple[Task, Outcome] | None] = []
        search = self._searches[task.scenario]
        self._guard(lambda: ends.append(search.finish(task, outcome)))
        while search.notes:
            self._notify("on_note", search.notes.pop(0))
        whole = ends[0] if ends else None
        if whole is None or task.kind != "trial":
            self._notify("on_stage_end", task, outcome)
        if whole is None:
            return
        self._notify("on_end", *whole)
        if (outlook := search.watch.news()) is not None:
            self._notify("on_outlook", task.scenario, outlook)

    def _guard(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            self.stop(f"cannot write {self.folder.ledger}: {error}")

    def _notify(self, name: str, *event: Any) -> None:
        """Call every observer; print what one raises, because observers never end a study."""
        for observer in self._observers:
            try:
                getattr(observer, name)(*event)
            except Exception:
                traceback.print_exc()
