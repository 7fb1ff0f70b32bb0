"""Ends a search in time for its confirmations and tests, under a budget such as `budget: 6h`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ltat_tune.files import write_json
from ltat_tune.planning.looks import look_costs
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import LOOKS, Outcome, Task
from ltat_tune.storage.training_files import RESULT, SENTINEL, TEST
from ltat_tune.storage.versioned import read_stored

if TYPE_CHECKING:
    from ltat_tune.storage.ledger import Ledger

_TRUSTED_EPOCHS = 3  # of one task, before its mean counts as the seconds of an epoch


class Claims:
    """The epochs that the trials of one search have trained and may still train.

    Args:
        live: trial -> stage that trains now. The search shares and updates the first three.
        ready: pairs of trial and stage that are next for a slot.
        spent: trial -> epochs of stages that ended.
        whole: the stage that is a trial's own training; its repeats follow.
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
        """Record that a trial completed a stage."""
        self._reached = max(self._reached, stage)

    def reached(self, stage: int) -> int:
        """Return the furthest stage that any trial has reached, if one begins this stage too."""
        return min(self._whole, max(stage, self._reached, *self._live.values(), -1))

    def committed(self, stages: Sequence[int], total: int) -> int:
        """Return the epochs trained, plus the most that live and ready trials may train."""
        begun = [*self._live.values(), *(stage for _, stage in self._ready)]
        return sum(self._spent.values()) + sum(self._most(s, stages, total) for s in begun)

    def remaining(self, stages: Sequence[int], total: int) -> list[int]:
        """Return the most epochs left of each live and each ready trial."""
        live = [self._most(s, stages, total) - self.heard.get(n, 0) for n, s in self._live.items()]
        return live + [self._most(s, stages, total) for _, s in self._ready]

    def _most(self, stage: int, stages: Sequence[int], total: int) -> int:
        repeats = max(0, stage - self._whole)
        return stages[min(stage, self._whole)] - repeats * total


class BudgetKeeper:
    """Decides which stages may still begin.

    A stage may begin if the budget also covers everything that surely follows: running trainings
    end, every scenario gets a first complete trial, and then its confirmations, tests and
    sentinel. A budget in epochs counts the most that each can take. In hours, an epoch counts as
    long as in the slowest training so far; before a study's first epoch, every stage may begin. A
    test counts as long as the slowest so far; before the first, the rule of thumb gives its share
    of an epoch, at the measured speed of an epoch. Hours count from the first task of a start and
    are summed over starts.

    Args:
        space: a space with a budget.
        folder: the study's folder, which records the hours of all starts.
        rungs: the epochs at which trials are judged.
        slots: how many tasks run at once.

    Attributes:
        slots: as above; it may change while the study runs.
        look_costs: costs of tests and sentinels by scenario, by the rule of thumb.
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
        self.look_costs = {} if self.budget.unit == "epochs" else look_costs(space)
        earlier: Mapping[str, float] = read_stored(folder.spent) or {}
        self._spent = {
            name: earlier.get(name, 0.0)
            for name in ("seconds", "task_seconds", "epoch_s", "test", "sentinel")
        }
        self._before, self._began = self._spent["seconds"], time.monotonic()
        self._trained: dict[str, tuple[int, float]] = {}  # by task, in this start
        self._written = -math.inf

    def watch(self, claims: Mapping[str, Claims]) -> None:
        """Set the claims of the searches, by scenario."""
        self._claims = dict(claims)

    def busy(self) -> bool:
        """Return whether a trial trains; if it ends early, it frees some of the budget."""
        return any(claims.live for claims in self._claims.values())

    def allows(self, scenario: str, stage: int, trained: int = 0) -> bool:
        """Return whether a trial may begin a stage.

        Args:
            scenario: the trial's scenario.
            stage: the stage's place among a trial's stages.
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
        """Record an epoch of a task; a replayed epoch costs nothing."""
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
        """Record the end of a task."""
        self._trained.pop(task.key, None)
        if task.kind in ("test", "sentinel"):
            whole = outcome.seconds + outcome.lent_s  # its parts counted at their own ends
            self._spent[task.kind] = max(self._spent[task.kind], whole)
        if task.kind in LOOKS:
            self._spent["task_seconds"] += outcome.seconds
        self._keep(now=True)

    def hours_needed(self, epochs: list[int], firsts: int) -> float:
        """Return the hours that the study takes if tasks of so many epochs end the search.

        Args:
            epochs: the epochs left of each training task.
            firsts: further epochs, so that each scenario has a complete trial.
        """
        second = self._spent["epoch_s"]
        total = self._space.max_epochs
        trainings, measurements = 0, {"test": 0, "sentinel": 0}
        files = {"result": RESULT, "test": TEST, "sentinel": SENTINEL}
        for scenario in self._space.scenarios:
            confirmed = self._folder.root / "confirmations" / scenario.name
            done = {name: len(list(confirmed.glob(f"*/{file}"))) for name, file in files.items()}
            fresh = self._confirming // total  # a seed that a trial trained is not trained again
            trainings += max(0, min(fresh, self._confirmations - done["result"]))
            measurements["test"] += max(0, self._confirmations - done["test"])
            watched = self._space.confirm.sentinel and self._confirmations > 0
            measurements["sentinel"] += watched and not done["sentinel"]
        seconds_of = {kind: self.look_s(kind) for kind in measurements}
        if self.budget.unit == "gpuh":
            seconds = second * (sum(epochs) + firsts + trainings * total)
            seconds += sum(seconds_of[kind] * count for kind, count in measurements.items())
            share = self._space.resources.gpus_per_trial
            return share * (self._spent["task_seconds"] + seconds) / 3600
        longest = max(max(epochs), math.ceil(sum(epochs) / self.slots))
        seconds = second * (longest + firsts + math.ceil(trainings / self.slots) * total)
        seconds += seconds_of["test"] * self._test_rounds(measurements["test"])
        seconds += seconds_of["sentinel"] * math.ceil(measurements["sentinel"] / self.slots)
        return (self._seconds() + seconds) / 3600

    def look_s(self, kind: str) -> float:
        """Return the seconds of a test or of a sentinel."""
        if slowest := self._spent[kind]:
            return slowest
        rules = self.look_costs.values()
        share = max((getattr(rule, kind) / rule.epoch for rule in rules), default=0.0)
        return share * self._spent["epoch_s"]

    def _test_rounds(self, tests: int) -> float:
        """Return how long so many tests take, in tests; slots share what does not fill them."""
        rules = self.look_costs.values()
        rounds = [cost.sharing(tests, self.slots).rounds for cost in rules]
        return max(rounds, default=float(math.ceil(tests / self.slots)))

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _keep(self, *, now: bool = False) -> None:
        """Write what was spent, at most once a second."""
        if self.budget.unit == "epochs" or (not now and time.monotonic() - self._written < 1):
            return
        self._written = time.monotonic()
        self._spent["seconds"] = self._seconds()
        write_json(self._folder.spent, self._spent, sync=False)  # at worst a second is lost


def end_search(space: Space, ledger: Ledger, scenario: str) -> None:
    """End the proposals of a scenario, and record why in the ledger."""
    begun, planned = ledger.begun(scenario), space.searcher.trials
    why = (
        f"{space.scenario(scenario).title}: the budget of {space.budget} ends the search after "
        f"{begun} of {planned} trials"
    )
    end_by(ledger, scenario, fact="budget", rule=str(space.budget), why=why)


def reopen(space: Space, ledger: Ledger, scenario: str) -> None:
    """Reopen a search that ended under another budget than the present one."""
    reopen_unless(ledger, scenario, fact="budget", rule=str(space.budget or ""))


def end_by(ledger: Ledger, scenario: str, *, fact: str, rule: str, why: str) -> None:
    """End the proposals of a scenario by a rule that a resume may change.

    Args:
        ledger: records it.
        scenario: its name.
        fact: under which the rule is recorded.
        rule: the rule as text.
        why: a sentence for the user.
    """
    ledger.remember(scenario, fact, rule)
    ledger.remember(scenario, "exhausted", why)


def reopen_unless(ledger: Ledger, scenario: str, *, fact: str, rule: str) -> None:
    """Reopen a search that `end_by` ended, unless the rule is still the same."""
    ended_by = ledger.recall(scenario, fact)
    if ended_by and ended_by != rule:
        ledger.remember(scenario, fact, "")
        ledger.remember(scenario, "exhausted", "")
