"""One scenario's search: which configuration trains next, for how long, and from where.

A trial passes through stages: short complete copies, if the rungs are copies; its own training;
and repeats of that training with other seeds, if `searcher.seeds_per_trial` asks for them. The
ledger records the trial after every stage, so a new driver continues where the last one stopped.
With predict, a trial begins with a copy or whole, and a surrogate decides which go on.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.engine.budget import BudgetKeeper, Claims, end_search, reopen
from ltat_tune.engine.choice import mark_owed, next_action, propose, waiting_trials
from ltat_tune.engine.gain_watch import GainWatch
from ltat_tune.engine.task_factory import Stages
from ltat_tune.search.predict.chooser import Action, build_chooser
from ltat_tune.search.predict.observed import began_with_copy
from ltat_tune.search.promotion import Promotions
from ltat_tune.search.quota import Quota
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stems import late_paths
from ltat_tune.search.tried import SearchExhausted
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.trial_state import score_of

_MISLED = "its copy trained with the cheap attack, which predicts ranks no better than chance"


class ScenarioSearch:
    """Proposes, promotes and ends the trials of one scenario.

    Args:
        space: the study's space.
        folder: the study's folder, which holds the tasks.
        ledger: the trials so far.
        scenario: the scenario's name.
        rungs: the epochs at which trials are judged.
        device: the device on which they train.
        budget: decides which stages may begin; None lets all of them begin.
    """

    def __init__(
        self,
        space: Space,
        folder: StudyFolder,
        ledger: Ledger,
        scenario: str,
        rungs: Rungs,
        *,
        device: str,
        budget: BudgetKeeper | None = None,
    ) -> None:
        self._space, self._ledger, self._scenario = space, ledger, scenario
        self._rungs, self._metric, self._budget = rungs, space.objective.metric, budget
        self._stages = Stages(space, folder, scenario, rungs, device=device)
        self._quota = Quota(space, space.scenario(scenario))
        self._chooser = build_chooser(space, scenario, rungs)
        self._action: Action | None = None  # that the chooser chose for a new trial
        self._promotions = Promotions(len(rungs.copies), space.scheduler.reduction_factor)
        self._params: dict[int, dict[str, Any]] = {}
        self._spent: dict[int, int] = {}  # epochs of stages that ended
        self._seeds: dict[int, list[dict[str, float]]] = {}  # final metrics of each training
        self._live: dict[int, int] = {}  # trial number -> stage that trains now
        self._ready: list[tuple[int, int]] = []  # (trial, stage): they wait for a slot alone
        # level -> number of trials begun when the level's cheap attack was given up
        self._misled: dict[int, int] = dict(ledger.recall(scenario, "misled") or [])
        self.notes: list[str] = []  # for the user; the queue takes them out
        self.claims = Claims(self._live, self._ready, self._spent, whole=self._whole)
        self._postponed: tuple[int, int] | None = None  # a stage that waits for budget
        self._waits = False
        self._given_up: list[int] = []  # trials that the rest of the budget cannot pay for
        reopen(space, ledger, scenario)
        self.watch = GainWatch(space, ledger, scenario)
        self._put_back()

    # -- what comes next ------------------------------------------------------------------------

    def next_task(self) -> Task | None:
        """Return a free slot's next task; None while running trials decide, or at the end."""
        self._waits = False
        while (upcoming := self._next_stage()) is not None:
            number, stage = upcoming
            if self._allowed(number, stage):
                if number is not None:
                    return self._start(number, stage)
                try:
                    return self._propose()
                except SearchExhausted:  # running trials may still be promoted
                    continue
            assert self._budget is not None
            self._postponed = None if number is None else (number, stage)
            if self._budget.busy():  # a trial that ends early leaves some of the budget
                self._waits = True
                return None
            self._postponed = None
            self._give_up(number)
        return None

    @property
    def trains(self) -> bool:
        """Whether a trial of this scenario is in a slot or waits for budget that others free."""
        return bool(self._live) or self._waits

    def losers(self) -> list[tuple[Task, Outcome]]:
        """Return the waiting trials that will never be promoted, for `finish`."""
        losers = []
        for number in self._given_up:
            why, begun = f"the budget of {self._space.budget} is spent", self._begun(number)
            losers.append((self._task(number, self._whole), Outcome("pruned", begun, why)))
        if self._chooser is not None and self._ledger.is_searched(self._scenario):
            waiting = waiting_trials(self._ledger, self._scenario, self._rungs, self._given_up)
            for number in waiting:
                reason = f"others promised more than its copy of {self._rungs.copies[0]} epochs"
                losers.append((self._task(number, self._whole), Outcome("pruned", 0, reason)))
        self._given_up.clear()
        for number in self._promotions.losers(self._settled()):
            level = self._level(number)
            stop = self._promotions.why_lost(number, level, self._rungs.copies[level])
            reason = _MISLED if stop is None else stop.sentence
            losers.append((self._task(number, self._whole), Outcome("pruned", 0, reason)))
        return losers

    def is_owed(self, number: int) -> bool:
        """Return whether a trial trains whole, whatever its rank, and note it in its row."""
        return mark_owed(self._quota, self._ledger, self._scenario, number, self._params[number])

    # -- reports of tasks -----------------------------------------------------------------------

    def absorb(self, task: Task, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record an epoch of a stage."""
        self.claims.heard[task.number] = epoch
        if task.kind == "trial":
            score = self._rungs.score(epoch, metrics, self._metric)
            if score is not None:
                self._ledger.record(self._scenario, task.number, epoch, score)
        if task.stem and epoch == task.stem_epochs:
            self._branch(task)

    def finish(self, task: Task, outcome: Outcome) -> tuple[Task, Outcome] | None:
        """End a stage. Return the trial's own task and outcome, or None if the trial goes on."""
        number = task.number
        stage = self._live.pop(number, self._whole)
        self._spent[number] = self._spent.get(number, 0) + self._stages.trained(task, outcome)
        score = (outcome.metrics or {}).get(self._metric)
        if outcome.state == "complete" and score is not None:
            if task.kind == "copy":
                self._ledger.note(self._scenario, number, spent=self._spent[number])
                self._ledger.record(self._scenario, number, task.epochs, score)
                self.claims.reach(stage)
                if self._chooser is None:
                    self._promotions.add(stage, number, score)
                    self._distrust(stage - 1)
                return None
            seeds = self._seeds.setdefault(number, [])
            measured = outcome.metrics or {}
            seeds.append({m: measured[m] for m in self._space.objective.metrics if m in measured})
            if self._space.searcher.seeds_per_trial > 1:
                outcome = self._ledger.note_seeds(self._scenario, number, seeds, outcome)
            if len(seeds) < self._space.searcher.seeds_per_trial:
                self._ledger.note(self._scenario, number, spent=self._spent[number])
                self._ready.append((number, stage + 1))
                return None
            mean = {m: statistics.fmean(seed[m] for seed in seeds) for m in seeds[0]}
            outcome = replace(outcome, metrics={**measured, **mean})
            score = mean[self._metric]
            self._promotions.end(number, score)
            self.claims.reach(self._whole)
            self._distrust(self._whole - 1)
        self._promotions.leave(number)
        spent = replace(outcome, epoch=self._spent[number])
        self._ledger.finish(self._scenario, number, spent, score)
        return self._task(number, self._whole), outcome

    # -- inside ---------------------------------------------------------------------------------

    def _next_stage(self) -> tuple[int | None, int] | None:
        """Return the next (trial, stage), or None; the trial is None if one must be proposed."""
        if self._postponed is not None:
            return self._postponed
        if self._ready:
            return self._ready.pop(0)
        self.watch.end_search()
        if self._chooser is not None:
            return self._predicted()
        # once nothing is left to propose, a free slot takes the best of those that wait
        searched = self._ledger.is_searched(self._scenario)
        promoted = self._promotions.next(self._whole if searched else 0)
        if promoted is not None:
            number, level = promoted
            return number, level + 1
        return None if searched else (None, 0)

    def _predicted(self) -> tuple[int | None, int] | None:
        """Return the next (trial, stage) by the surrogate; None at the end, or to wait."""
        assert self._chooser is not None
        self._action = None
        if self._ledger.is_searched(self._scenario):
            return None
        if self._ledger.has_queued(self._scenario):  # start points train whole
            return None, self._whole
        self._action = next_action(
            self._chooser, self._ledger, self._scenario, self._rungs, self._quota,
            given_up=self._given_up,
        )  # fmt: skip
        if self._action is not None:
            return self._action.number, 0 if self._action.copy else self._whole
        return None if self._live else (None, self._whole)  # whatever is left, if anything is

    def _propose(self) -> Task:
        """Begin a new trial.

        Raises:
            SearchExhausted: every configuration has been tried.
        """
        number, proposed = propose(self._ledger, self._scenario, self._quota, self._action)
        self._params[number] = proposed
        return self._begin(number, self._whole if self._begins_whole(number) else 0)

    def _begins_whole(self, number: int, passed: int = 0) -> bool:
        """Return whether no copy precedes a trial's own training; `passed` copies have ended."""
        if self._chooser is not None:
            return not began_with_copy(self._ledger.row(self._scenario, number))
        return passed == 0 and self.is_owed(number)

    def _allowed(self, number: int | None, stage: int) -> bool:
        if self._budget is None or stage > self._whole:  # a trial's seeds are paid for at once
            return True
        begun = 0 if number is None else self._begun(number)
        allowed = self._budget.allows(self._scenario, stage, begun)
        if self._chooser is not None and stage < self._whole:  # no copy without a whole training
            return allowed and self._budget.allows(self._scenario, self._whole)
        return allowed

    def _start(self, number: int, stage: int) -> Task:
        """Begin a stage of a trial that was proposed before."""
        self._postponed = None
        row = self._ledger.row(self._scenario, number)
        passed = sum(length in row.intermediate_values for length in self._rungs.copies)
        if 0 < stage == passed and int(row.user_attrs.get("promoted", 0)) < stage:
            self._ledger.note(self._scenario, number, promoted=stage)
        return self._begin(number, stage)

    def _give_up(self, number: int | None) -> None:
        """End a trial, or the search if there is none, because the budget is spent."""
        if number is not None:
            self._given_up.append(number)
        else:
            end_search(self._space, self._ledger, self._scenario)

    def _begun(self, number: int) -> int:
        """Return how many epochs of its whole training earlier starts trained, by the ledger."""
        scores = self._ledger.row(self._scenario, number).intermediate_values
        return 0 if self._rungs.copies else max(scores, default=0)

    @property
    def _whole(self) -> int:
        """The number of the stage that is the trial's own training."""
        return self._stages.whole

    def _put_back(self) -> None:
        """Restore the state that earlier drivers left in the ledger."""
        for row in self._ledger.finished(self._scenario):
            self._put_back_scores(row)
            self._spent[row.number] = int(row.user_attrs.get("epochs", 0))
            if (score := score_of(row)) is not None:
                self._promotions.end(row.number, score)
                self.claims.reach(self._whole)
            self._promotions.leave(row.number)
        for row in self._ledger.unfinished(self._scenario):
            number, self._params[row.number] = self._ledger.take_over(self._scenario, row)
            self._put_back_scores(row)
            self._spent[number] = int(row.user_attrs.get("spent", 0))
            self._seeds[number] = list(row.user_attrs.get("seeds", []))
            passed = sum(length in row.intermediate_values for length in self._rungs.copies)
            if self._begins_whole(number, passed):
                self._ready.append((number, self._whole + len(self._seeds[number])))
            elif passed == 0 or int(row.user_attrs.get("promoted", 0)) >= passed:
                self._ready.append((number, passed + len(self._seeds[number])))

    def _put_back_scores(self, row: FrozenTrial) -> None:
        promoted = int(row.user_attrs.get("promoted", 0))
        for level, length in enumerate(self._rungs.copies):
            score = row.intermediate_values.get(length)
            if score is not None and row.number >= self._misled.get(level, 0):
                if self._chooser is None:
                    self._promotions.add(level, row.number, score, gone_on=promoted > level)
                self.claims.reach(level)

    def _settled(self) -> int:
        """Return how many levels of copies, from the lowest, get no further scores."""
        if not self._ledger.is_searched(self._scenario):
            return 0
        return min([*self._live.values(), *(stage for _, stage in self._ready), self._whole])

    def _level(self, number: int) -> int:
        """Return the highest level that a waiting trial has finished."""
        row = self._ledger.row(self._scenario, number)
        return sum(length in row.intermediate_values for length in self._rungs.copies) - 1

    def _begin(self, number: int, stage: int) -> Task:
        self._live[number] = stage
        if stage >= self._whole:
            self.is_owed(number)
        self.claims.heard.pop(number, None)
        return self._task(number, stage)

    def _task(self, number: int, stage: int) -> Task:
        """Return the task of a trial's stage."""
        return self._stages.task(number, self._params[number], stage, misled=self._misled)

    def _distrust(self, level: int) -> None:
        """Give up a level's cheap attack once its copies rank trials no better than chance.

        Trials that still wait are then out, because only the cheap attack's scores spoke for them.
        """
        judged = level >= 0 and level not in self._misled and self._stages.fidelity(level)
        if not judged or not (trials := self._promotions.misled(level)):
            return
        self._misled[level] = self._ledger.begun(self._scenario)
        self._promotions.forget(level)
        length = self._rungs.copies[level]
        self.notes.append(
            f"scheduler.fidelity misleads: over {trials} trials, the copies of {length} "
            "epochs predict the ranks of the next stage no better than chance; from now on, "
            f"copies of {length} epochs train with the full attack"
        )
        self._ledger.remember(self._scenario, "misled", sorted(self._misled.items()))

    def _branch(self, task: Task) -> None:
        """Queue the other branches of a trial whose stem exists: the same early parameters."""
        branches, number = self._space.searcher.branches, task.number
        if branches == 1 or self._space.searcher.enumerates or self._chooser is not None:
            return
        row = self._ledger.row(self._scenario, number)
        if "branch_of" in row.user_attrs:
            return
        late = late_paths(task.training_config())
        early = {p: v for p, v in self._params[number].items() if p not in late}
        queued = self._ledger.count(self._scenario, branch_of=number)
        for _ in range(branches - 1 - queued):
            self._ledger.enqueue(self._scenario, early, branch_of=number)
