"""`budget: 6h`: a search that ends in time for its confirmations and tests to be done."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltat_tune.errors import DataError
from ltat_tune.files import read_json, write_json
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.training_files import RESULT, SENTINEL, TEST

if TYPE_CHECKING:
    from ltat_tune.storage.ledger import Ledger


_TRUSTED_EPOCHS = 3  # of one task, before its seconds count as those of an epoch


class Claims:
    """What the trials of one search have trained, and may still train, in epochs.

    Args:
        live: trial -> stage that trains now; the search's own, as are the next two.
        ready: trials and stages that are next for a slot.
        spent: trial -> epochs of stages that ended.
        whole: the stage that is a trial's own training; repeats of it are behind.
    """

    def __init__(
        self,
        live: Mapping[int, int],
        ready: Sequence[tuple[int, int]],
        spent: Mapping[int, int],
        *,
        whole: int,
    ) -> None:
        self._live, self._ready, self._spent, self._whole = live, ready, spent, whole
        self.heard: dict[int, int] = {}  # last epoch of the stage that trains now
        self._reached = -1

    @property
    def live(self) -> bool:
        """Whether a trial is in a slot."""
        return bool(self._live)

    def reach(self, stage: int) -> None:
        """A trial came well to the end of a stage."""
        self._reached = max(self._reached, stage)

    def reached(self, stage: int) -> int:
        """The furthest stage that a trial is in or behind, if one begins this stage too."""
        return min(self._whole, max(stage, self._reached, *self._live.values(), -1))

    def committed(self, stages: Sequence[int], total: int) -> int:
        """Epochs that were trained, and the most of all that is in a slot or next for one."""
        there = [*self._live.values(), *(stage for _, stage in self._ready)]
        return sum(self._spent.values()) + sum(self._most(s, stages, total) for s in there)

    def remaining(self, stages: Sequence[int], total: int) -> list[int]:
        """Most epochs left of each trial in a slot or next for one."""
        live = [self._most(s, stages, total) - self.heard.get(n, 0) for n, s in self._live.items()]
        return live + [self._most(s, stages, total) for _, s in self._ready]

    def _most(self, stage: int, stages: Sequence[int], total: int) -> int:
        repeats = max(0, stage - self._whole)
        return stages[min(stage, self._whole)] - repeats * total


@dataclass(frozen=True)
class LookCost:
    """What is measured on weights, in passes of the rule of thumb (planning/cost.py)."""

    test: float
    sentinel: float
    epoch: float


class BudgetKeeper:
    """Says which stages may still begin.

    What a stage may begin with is left after everything that will surely come: what trains now
    comes to its end, every scenario has a first complete trial, and then its confirmations, tests
    and look for masking. In epochs each counts as its most. In hours an epoch takes as long as in
    the slowest training so far; before the first epoch of a study nothing is known, and a stage
    may begin. A test takes as long as the slowest so far; before the first, its share of an epoch
    by the rule of thumb, at the measured speed of an epoch. Hours count from the first task of a
    start, and are summed over starts.

    Args:
        space: with its budget.
        folder: where the hours of all starts are kept.
        rungs: where trials are judged.
        slots: tasks that run at once.

    Attributes:
        slots: as above; may change while the study runs.
        look_costs: by scenario, what tests cost by the rule of thumb.
    """

    def __init__(self, space: Space, folder: StudyFolder, rungs: Rungs, *, slots: int) -> None:
        from ltat_tune.planning.estimate import confirmation_epochs
        from ltat_tune.planning.expected_epochs import stage_epochs

        assert space.budget is not None
        self._space, self._folder, self.slots = space, folder, slots
        self.budget = space.budget
        self._stages = stage_epochs(space, rungs)
        self._claims: dict[str, Claims] = {}
        self._confirmations, self._confirming, _ = confirmation_epochs(space)
        self.look_costs = {} if self.budget.unit == "epochs" else _tests(space)
        earlier: Mapping[str, float] = read_json(folder.spent) or {}
        self._spent = {
            name: earlier.get(name, 0.0)
            for name in ("seconds", "task_seconds", "epoch_s", "test", "sentinel")
        }
        self._before, self._began = self._spent["seconds"], time.monotonic()
        self._trained: dict[str, tuple[int, float]] = {}  # by task, in this start
        self._written = -math.inf

    def watch(self, claims: Mapping[str, Claims]) -> None:
        """What the searches, by scenario, take of the budget."""
        self._claims = dict(claims)

    def busy(self) -> bool:
        """Whether a trial trains: ended early, it leaves some over."""
        return any(claims.live for claims in self._claims.values())

    def allows(self, scenario: str, stage: int, trained: int = 0) -> bool:
        """Whether a trial may begin a stage.

        Args:
            scenario: its scenario.
            stage: its place among a trial's stages.
            trained: epochs of the stage that an earlier start trained.
        """
        stages, total = self._stages, self._space.max_epochs
        epochs = stages[stage] - trained
        firsts = sum(
            sum(stages[claims.reached(stage if name == scenario else -1) + 1 :])
            for name, claims in self._claims.items()
        )
        every = self._claims.values()
        if self.budget.unit == "epochs":
            used = sum(claims.committed(stages, total) for claims in every)
            confirming = len(self._claims) * self._confirming
            return used + epochs + firsts + confirming <= self.budget.amount
        running = [left for claims in every for left in claims.remaining(stages, total)]
        return self.hours_needed([*running, epochs], firsts) <= self.budget.amount

    def on_epoch(self, task: Task, seconds: float, *, replayed: bool) -> None:
        """A task trained an epoch, now or in an earlier start."""
        if replayed:
            return
        epochs, before = self._trained.get(task.key, (0, 0.0))
        self._trained[task.key] = epochs + 1, before + seconds
        self._spent["task_seconds"] += seconds
        if not task.fidelity and (epochs + 1 >= _TRUSTED_EPOCHS or not self._spent["epoch_s"]):
            mean = (before + seconds) / (epochs + 1)
            self._spent["epoch_s"] = max(self._spent["epoch_s"], mean)
        self._keep()

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """A task ended."""
        self._trained.pop(task.key, None)
        if task.kind in ("test", "sentinel"):
            self._spent[task.kind] = max(self._spent[task.kind], outcome.seconds)
            self._spent["task_seconds"] += outcome.seconds
        self._keep(now=True)

    def hours_needed(self, epochs: list[int], firsts: int) -> float:
        """Hours at the end of the study, if tasks of so many epochs end and then nothing begins.

        Args:
            epochs: left of everything that trains.
            firsts: further epochs, so that each scenario has a complete trial.
        """
        second = self._spent["epoch_s"]
        total = self._space.max_epochs
        trainings, looks = 0, {"test": 0, "sentinel": 0}
        files = {"result": RESULT, "test": TEST, "sentinel": SENTINEL}
        for scenario in self._space.scenarios:
            there = self._folder.root / "confirmations" / scenario.name
            done = {name: len(list(there.glob(f"*/{file}"))) for name, file in files.items()}
            fresh = self._confirming // total  # what a trial has trained is not trained again
            trainings += max(0, min(fresh, self._confirmations - done["result"]))
            looks["test"] += max(0, self._confirmations - done["test"])
            watched = self._space.confirm.sentinel and self._confirmations > 0
            looks["sentinel"] += watched and not done["sentinel"]
        after = {kind: self.look_s(kind) for kind in looks}
        if self.budget.unit == "gpuh":
            seconds = second * (sum(epochs) + firsts + trainings * total)
            seconds += sum(after[kind] * count for kind, count in looks.items())
            share = self._space.resources.gpus_per_trial
            return share * (self._spent["task_seconds"] + seconds) / 3600
        longest = max(max(epochs), math.ceil(sum(epochs) / self.slots))
        seconds = second * (longest + firsts + math.ceil(trainings / self.slots) * total)
        seconds += sum(after[kind] * math.ceil(n / self.slots) for kind, n in looks.items())
        return (self._seconds() + seconds) / 3600

    def look_s(self, kind: str) -> float:
        """Seconds of a test, or of a look for masking."""
        if known := self._spent[kind]:
            return known
        rules = self.look_costs.values()
        share = max((getattr(rule, kind) / rule.epoch for rule in rules), default=0.0)
        return share * self._spent["epoch_s"]

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _keep(self, *, now: bool = False) -> None:
        """Writes what was spent, at most once a second."""
        if self.budget.unit == "epochs" or (not now and time.monotonic() - self._written < 1):
            return
        self._written = time.monotonic()
        self._spent["seconds"] = self._seconds()
        write_json(self._folder.spent, self._spent, sync=False)  # at worst a second is lost


def _tests(space: Space) -> dict[str, LookCost]:
    """What tests cost beside epochs; nothing where images cannot be counted."""
    from ltat_tune.planning.estimate import mean_cost

    found = {}
    for scenario in space.scenarios:
        try:
            cost = mean_cost(space, scenario)
        except DataError:
            continue
        every = space.config(scenario, {}).evaluation.every_epochs
        found[scenario.name] = LookCost(
            cost.test, cost.sentinel, cost.update + cost.validation / every
        )
    return found


def end_search(space: Space, ledger: Ledger, scenario: str) -> None:
    """Proposes nothing more in a scenario, and leaves word why."""
    begun, asked = ledger.begun(scenario), space.searcher.trials
    why = (
        f"{space.scenario(scenario).title}: the budget of {space.budget} ends the search after "
        f"{begun} of {asked} trials"
    )
    ledger.remember(scenario, "budget", str(space.budget))
    ledger.remember(scenario, "exhausted", why)


def reopen(space: Space, ledger: Ledger, scenario: str) -> None:
    """Goes on with a search that another budget than today's ended."""
    ended_by = ledger.recall(scenario, "budget")
    if ended_by and ended_by != str(space.budget or ""):
        ledger.remember(scenario, "budget", "")
        ledger.remember(scenario, "exhausted", "")
