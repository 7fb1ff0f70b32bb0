"""What a free slot does next: Ray's searcher, over all scenarios at once.

In each scenario: search trials, then confirmations of the best, then tests of the confirmed, then
the sentinel's look at the winner. While one scenario waits for its last trial, the others' work
fills the slots.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ray.tune.search import Searcher

from ltat_tune.study.budget import BudgetKeeper
from ltat_tune.study.folder import StudyFolder
from ltat_tune.study.ledger import Ledger
from ltat_tune.study.plan import confirmations, sentinels, tests
from ltat_tune.study.rungs import Rungs
from ltat_tune.study.scheduler import Asha
from ltat_tune.study.search import Search
from ltat_tune.study.space import Space
from ltat_tune.study.tasks import SEARCH, Outcome, Task

if TYPE_CHECKING:
    from ltat_tune.study.cluster import Cluster


class Observer(Protocol):
    """Hears of a study's events in the driver: the live view, MLflow."""

    def on_start(self, task: Task) -> None:
        """A task was handed to a slot, perhaps again after its worker died."""

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """A task finished an epoch; each epoch is told once."""

    def on_retry(self, task: Task, why: str) -> None:
        """A task goes on from its checkpoint elsewhere, unless that was tried too often."""

    def on_stage_end(self, task: Task, outcome: Outcome) -> None:
        """A copy, or one of several seeds, of a trial ended; `on_end` tells of the trial."""

    def on_note(self, text: str) -> None:
        """The search changed its ways."""

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """A trial, a confirmation or a look ended for good."""


class WorkQueue(Searcher):
    """Hands out tasks, takes their reports, keeps the ledger.

    Args:
        space: the study's space.
        folder: where tasks lie.
        ledger: trials so far.
        asha: the scheduler whose rungs are to be rebuilt.
        slots: tasks that run at once.
        device: where tasks train.
        rungs: where trials are judged.
        observers: told of every event.
        cluster: where the tasks run, if it is not this machine.
    """

    def __init__(
        self,
        space: Space,
        folder: StudyFolder,
        ledger: Ledger,
        asha: Asha,
        *,
        slots: int,
        device: str,
        rungs: Rungs,
        observers: Sequence[Observer],
        cluster: Cluster | None = None,
    ) -> None:
        super().__init__(metric=space.objective.metric, mode="max")
        self.space, self.folder, self.ledger, self.asha = space, folder, ledger, asha
        self._slots, self._device = slots, device
        self._largest, self._cluster = slots, cluster
        self._observers = observers
        self._live: dict[str, Task] = {}  # by Ray's trial id
        self._told: dict[str, int] = {}  # last epoch that was told, by task key
        self._budget = BudgetKeeper(space, folder, rungs, slots=slots) if space.budget else None
        self._searches = {
            s.name: Search(
                space, folder, ledger, s.name, rungs, device=device, budget=self._budget
            )
            for s in space.scenarios
        }
        if self._budget is not None:
            self._budget.watch({name: s.claims for name, s in self._searches.items()})
        self._handed = {s.name: 0 for s in space.scenarios}
        self._confirming: dict[str, list[Task]] = {}
        self._testing: dict[str, list[Task]] = {}
        self._watching: dict[str, list[Task]] = {}
        self._failures: list[Outcome] = []
        self._again: list[Task] = []  # ran out of memory: next, with more room
        self._hangs: dict[str, str] = {}  # what was seen last, by task key
        self.stop_reason: str | None = None
        self.unconfirmed: list[str] = []  # confirmations, tests and sentinels that failed
        for scenario in space.scenarios:
            for row in ledger.finished(scenario.name):
                asha.put_back(
                    scenario.name, f"{scenario.name}/t{row.number:04d}", ledger.scores(row)
                )

    # -- Ray asks -------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> Any:
        """The next task, None while there is none, or Searcher.FINISHED."""
        if self.stop_reason is not None:
            return Searcher.FINISHED
        # nothing small slips in before a task that waits for more room
        if self._taken() + (self.room(self._again[0]) if self._again else 1) > self._slots:
            return None
        try:
            task = self._again.pop(0) if self._again else self._next()
        except OSError as error:
            self.stop(f"cannot write into {self.folder.root}: {error}")
            return Searcher.FINISHED
        if task is None:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = task
        self._handed[task.scenario] += 1
        self._tell("on_start", task)
        return {"task": task.to_json(), "slots": self.room(task)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A report of a task that goes on."""
        if trial_id in self._live:
            self._absorb(self._live[trial_id], result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A task ended: by its own last event, by ASHA, by an interruption, or its worker died."""
        task = self._live.pop(trial_id, None)
        if task is None:
            return
        result = result or {}
        self._absorb(task, result)
        event = json.loads(result["event"]) if "event" in result else None
        if event is not None and event["state"] == "blocked":
            cause = Outcome("failed", 0, event["reason"]).cause
            self.stop(f"{cause}: make {self.folder.root} writable or free its disk, then resume")
        elif event is not None and event["state"] == "out_of_memory":
            self._again.append(replace(task, spacious=True))
            self._tell("on_retry", task, "out of GPU memory, tried again with a larger share")
        elif event is not None:
            trained = self._told.get(task.key, 0)
            epoch = trained if task.kind in SEARCH else int(event.get("epoch", trained))
            self._finish(
                task,
                Outcome(
                    event["state"], epoch, event.get("reason", ""),
                    event.get("metrics"), event["seconds"],
                ),
            )  # fmt: skip
        elif task.key in self.asha.stopped:
            self._finish(task, Outcome("pruned", self._told.get(task.key, 0)))
        elif error and self._cluster is not None and (problem := self._cluster.settle()):
            self.stop(problem)  # the node's fault: the row stays RUNNING
        elif error and self.stop_reason is None:
            reason = "its worker process died again and again (out of memory, or killed)"
            if task.key in self._hangs:
                reason = (
                    f"hangs: {self._hangs[task.key]}, and so each time it was tried again; if its "
                    "epochs may take as long, raise resources.hang_floor_s or hang_factor"
                )
            self._finish(task, Outcome("failed", self._told.get(task.key, 0), reason))
        # else the study is being stopped: the row stays RUNNING and is taken over on resume

    def on_hang(self, trial_id: str, seen: str) -> None:
        """A task is about to be ended because it hangs; Ray tries it again, or gives it up."""
        if (task := self._live.get(trial_id)) is not None:
            self._hangs[task.key] = seen
            self._tell("on_retry", task, f"{seen}; its worker is killed")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher for a restore that this study never makes

    # -- what the study asks --------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Hands nothing more out; the first reason is kept."""
        if self.stop_reason is None:
            self.stop_reason = reason

    def resize(self, slots: int, largest: int) -> None:
        """Nodes joined or left.

        Args:
            slots: tasks that fit at once now; what runs in excess goes on, or waits for a node.
            largest: tasks that fit on the node that holds most.
        """
        self._slots, self._largest = slots, largest
        if self._budget is not None:
            self._budget.slots = max(1, slots)

    def room(self, task: Task) -> int:
        """Slots that a task takes, all on one node."""
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
        if scenario not in self._confirming:
            self._confirming[scenario] = confirmations(
                self.space, self.folder, self.ledger, scenario, device=self._device
            )
        if self._confirming[scenario]:
            return self._confirming[scenario].pop(0)
        if self._busy(scenario, "confirmation"):
            return None
        if scenario not in self._testing:
            self._testing[scenario] = tests(
                self.space, self.folder, self.ledger, scenario, device=self._device
            )
        if self._testing[scenario]:
            return self._testing[scenario].pop(0)
        if self._busy(scenario, "test"):
            return None
        if scenario not in self._watching:
            self._watching[scenario] = sentinels(
                self.space, self.folder, self.ledger, scenario, device=self._device
            )
        return self._watching[scenario].pop(0) if self._watching[scenario] else None

    def _taken(self) -> int:
        return sum(self.room(task) for task in self._live.values())

    def _busy(self, scenario: str, kind: str) -> bool:
        return any(t.scenario == scenario and t.kind == kind for t in self._live.values())

    def _absorb(self, task: Task, result: dict[str, Any]) -> None:
        if "epoch" not in result or "event" in result:
            return
        epoch, metrics = int(json.loads(result["epoch"])), json.loads(result["metrics"])
        if epoch <= self._told.get(task.key, 0):
            return  # read back from a checkpoint after the worker died: told before
        self._told[task.key] = epoch
        if self._budget is not None:
            seconds, replayed = json.loads(result["epoch_seconds"]), json.loads(result["replayed"])
            self._budget.on_epoch(task, seconds, replayed=replayed)
        if task.kind in SEARCH:
            search = self._searches[task.scenario]
            self._guard(lambda: search.absorb(task, epoch, metrics))
        seen = {**metrics, **json.loads(result.get("memory", "{}"))}
        self._tell("on_epoch", task, epoch, seen, json.loads(result["epoch_seconds"]))

    def _finish(self, task: Task, outcome: Outcome) -> None:
        if outcome.state != "complete":  # a training that comes to its end does so itself
            with contextlib.suppress(OSError):
                (task.path / "checkpoint-earlier.pt").unlink(missing_ok=True)
        if self._budget is not None:
            self._budget.on_end(task, outcome)
        if task.kind in SEARCH:
            self._finish_stage(task, outcome)
        else:
            self._tell("on_end", task, outcome)
        if task.kind not in SEARCH and outcome.state != "complete":
            self.unconfirmed.append(f"{task.title} {outcome.state}: {outcome.cause}")
        if task.kind == "sentinel":
            return  # it judges a finished model and says nothing of the trainings to come
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
        ended: list[tuple[Task, Outcome] | None] = []
        search = self._searches[task.scenario]
        self._guard(lambda: ended.append(search.finish(task, outcome)))
        while search.notes:
            self._tell("on_note", search.notes.pop(0))
        whole = ended[0] if ended else None
        if whole is None or task.kind != "trial":
            self._tell("on_stage_end", task, outcome)
        if whole is not None:
            self._tell("on_end", *whole)

    def _guard(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            self.stop(f"cannot write {self.folder.ledger}: {error}")

    def _tell(self, name: str, *event: Any) -> None:
        """Observers never end a study: what one raises is shown and the work goes on."""
        for observer in self._observers:
            try:
                getattr(observer, name)(*event)
            except Exception:
                traceback.print_exc()
