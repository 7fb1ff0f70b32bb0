"""One scenario's search: which configuration trains next, for how long, and from where.

A trial passes through stages: short complete copies, if the rungs are such; its own training; and
repeats of that with other seeds, if `searcher.seeds_per_trial` asks for them. What is known of it
stands in its row of the ledger after every stage, so a new driver goes on where the last stopped.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.engine.budget import BudgetKeeper, Claims, end_search, reopen
from ltat_tune.engine.task_factory import trial_task
from ltat_tune.files import read_json
from ltat_tune.search.promotion import Promotions
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stems import late_paths, may_share, stem_of
from ltat_tune.search.tried import SearchExhausted
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.trial_state import score_of

_TRUSTED_TRIALS = 8  # with fewer, a rank correlation says little


class ScenarioSearch:
    """Proposes, promotes and ends the trials of one scenario.

    Args:
        space: the study's space.
        folder: where tasks lie.
        ledger: trials so far.
        scenario: its name.
        rungs: where trials are judged.
        device: where they train.
        budget: says which stages may begin; None lets all of them.
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
        self._space, self._folder, self._ledger = space, folder, ledger
        self._scenario, self._rungs, self._device = scenario, rungs, device
        self._metric, self._budget = space.objective.metric, budget
        self._promotions = Promotions(len(rungs.copies), space.scheduler.reduction_factor)
        self._params: dict[int, dict[str, Any]] = {}
        self._spent: dict[int, int] = {}  # epochs of stages that ended
        self._seeds: dict[int, list[dict[str, float]]] = {}  # what each training ended with
        self._live: dict[int, int] = {}  # trial number -> stage that trains now
        self._ready: list[tuple[int, int]] = []  # trials and stages that wait for a slot only
        # level -> trials begun when its cheap attack was given up
        self._misled: dict[int, int] = dict(ledger.recall(scenario, "misled") or [])
        self.notes: list[str] = []  # what the user should hear of, until it is read
        self.claims = Claims(self._live, self._ready, self._spent, whole=len(rungs.copies))
        self._held: tuple[int, int] | None = None  # a stage that waits for some of the budget
        self._waits = False
        self._given_up: list[int] = []  # trials that nothing is left of the budget for
        reopen(space, ledger, scenario)
        self._put_back()

    # -- what comes next ------------------------------------------------------------------------

    def next_task(self) -> Task | None:
        """What a free slot trains; None while the running trials must decide, or none is left."""
        self._waits = False
        while (wanted := self._wanted()) is not None:
            number, stage = wanted
            if self._allowed(number, stage):
                if number is not None:
                    return self._start(number, stage)
                try:
                    number, params = self._ledger.propose(self._scenario)
                except SearchExhausted:  # what trains already may still be promoted, now or later
                    continue
                self._params[number] = params
                return self._begin(number, 0)
            assert self._budget is not None
            self._held = None if number is None else (number, stage)
            if self._budget.busy():  # what ends early leaves some over
                self._waits = True
                return None
            self._held = None
            self._give_up(number)
        return None

    @property
    def trains(self) -> bool:
        """Whether a trial of this scenario is in a slot, or waits for what others leave over."""
        return bool(self._live) or self._waits

    def losers(self) -> list[tuple[Task, Outcome]]:
        """Trials that wait and will not be promoted any more; `finish` them."""
        found = []
        for number in self._given_up:
            reason = f"the budget of {self._space.budget} is spent"
            begun = self._begun(number)
            found.append((self._task(number, self._whole), Outcome("pruned", begun, reason)))
        self._given_up.clear()
        for number in self._promotions.losers(self._settled()):
            done = self._rungs.copies[self._level(number)]
            reason = f"its copy of {done} epochs was not among the best"
            found.append((self._task(number, self._whole), Outcome("pruned", 0, reason)))
        return found

    # -- what was heard -------------------------------------------------------------------------

    def absorb(self, task: Task, epoch: int, metrics: Mapping[str, float]) -> None:
        """Notes an epoch of a stage."""
        self.claims.heard[task.number] = epoch
        if task.kind == "trial":
            score = self._rungs.score(epoch, metrics, self._metric)
            if score is not None:
                self._ledger.record(self._scenario, task.number, epoch, score)
        if task.stem and epoch == task.stem_epochs:
            self._branch(task)

    def finish(self, task: Task, outcome: Outcome) -> tuple[Task, Outcome] | None:
        """Ends a stage. Returns the trial's own end, or None if it goes on."""
        number = task.number
        stage = self._live.pop(number, self._whole)
        self._spent[number] = self._spent.get(number, 0) + self._trained(task, outcome)
        score = (outcome.metrics or {}).get(self._metric)
        if outcome.state == "complete" and score is not None:
            if task.kind == "copy":
                self._ledger.note(self._scenario, number, spent=self._spent[number])
                self._ledger.record(self._scenario, number, task.epochs, score)
                self._promotions.add(stage, number, score)
                self.claims.reach(stage)
                self._distrust(stage - 1)
                return None
            seeds = self._seeds.setdefault(number, [])
            measured = outcome.metrics or {}
            seeds.append({m: measured[m] for m in self._space.objective.metrics if m in measured})
            if len(seeds) < self._space.searcher.seeds_per_trial:
                self._ledger.note(self._scenario, number, seeds=seeds, spent=self._spent[number])
                self._ready.append((number, stage + 1))
                return None
            if len(seeds) > 1:
                self._ledger.note(self._scenario, number, seeds=seeds)
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

    def _wanted(self) -> tuple[int | None, int] | None:
        """The trial and stage that would train next; no trial where one is to be proposed."""
        if self._held is not None:
            return self._held
        if self._ready:
            return self._ready.pop(0)
        promoted = self._promotions.next(self._settled())
        if promoted is not None:
            number, level = promoted
            return number, level + 1
        return None if self._ledger.is_searched(self._scenario) else (None, 0)

    def _allowed(self, number: int | None, stage: int) -> bool:
        if self._budget is None or stage > self._whole:  # its trial began with all its seeds
            return True
        begun = 0 if number is None else self._begun(number)
        return self._budget.allows(self._scenario, stage, begun)

    def _start(self, number: int, stage: int) -> Task:
        """Begins a stage of a trial that is known."""
        self._held = None
        row = self._ledger.row(self._scenario, number)
        passed = sum(length in row.intermediate_values for length in self._rungs.copies)
        if 0 < stage == passed and int(row.user_attrs.get("promoted", 0)) < stage:
            self._ledger.note(self._scenario, number, promoted=stage)
        return self._begin(number, stage)

    def _give_up(self, number: int | None) -> None:
        """Ends the search, or a trial, that nothing is left for."""
        if number is not None:
            self._given_up.append(number)
        else:
            end_search(self._space, self._ledger, self._scenario)

    def _begun(self, number: int) -> int:
        """Epochs of its whole training that an earlier start is known to have trained."""
        row = self._ledger.row(self._scenario, number)
        return 0 if self._rungs.copies else max(row.intermediate_values, default=0)

    @property
    def _whole(self) -> int:
        """The stage that is the trial's own training."""
        return len(self._rungs.copies)

    def _put_back(self) -> None:
        """What earlier drivers knew."""
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
            if passed == 0 or int(row.user_attrs.get("promoted", 0)) >= passed:
                self._ready.append((number, passed + len(self._seeds[number])))

    def _put_back_scores(self, row: FrozenTrial) -> None:
        promoted = int(row.user_attrs.get("promoted", 0))
        for level, length in enumerate(self._rungs.copies):
            by_cheap_attack = row.number < self._misled.get(level, 0)
            if length in row.intermediate_values and not by_cheap_attack:
                score = row.intermediate_values[length]
                self._promotions.add(level, row.number, score, gone_on=promoted > level)
                self.claims.reach(level)

    def _settled(self) -> int:
        """Levels of copies, from the lowest, at which no further one will end."""
        if not self._ledger.is_searched(self._scenario):
            return 0
        busy = [*self._live.values(), *(stage for _, stage in self._ready)]
        return min(busy, default=self._whole)

    def _level(self, number: int) -> int:
        """The highest level that a waiting trial has ended."""
        row = self._ledger.row(self._scenario, number)
        return sum(length in row.intermediate_values for length in self._rungs.copies) - 1

    def _begin(self, number: int, stage: int) -> Task:
        self._live[number] = stage
        self.claims.heard.pop(number, None)
        return self._task(number, stage)

    def _task(self, number: int, stage: int) -> Task:
        """The stage of a trial as a slot gets it."""
        whole = trial_task(
            self._space, self._folder, self._scenario, number, self._params[number],
            device=self._device,
        )  # fmt: skip
        if stage < self._whole:
            length = self._rungs.copies[stage]
            task = replace(
                whole, key=f"{whole.key}/copy-{length}", kind="copy", epochs=length,
                folder=str(whole.path / f"copy-{length}"), fidelity=self._fidelity(stage),
            )  # fmt: skip
        elif stage == self._whole:
            task = replace(
                whole, validate_at=self._rungs.epochs, probe_at=self._rungs.probes,
                probe_epochs=self._rungs.probe_epochs,
            )  # fmt: skip
        else:
            seed = int(whole.config["seeds.seed"]) + stage - self._whole
            task = replace(
                whole, key=f"{whole.key}/seed-{seed}", kind="repeat", seed=seed,
                folder=str(whole.path / f"seed-{seed}"),
            )  # fmt: skip
        return self._from_stem(task)

    def _fidelity(self, level: int) -> dict[str, Any]:
        """What the copies of a level train with instead of the configuration's own values."""
        if level in self._misled:
            return {}
        wanted = self._space.scheduler.cheaper.items()
        return {path: values[level] for path, values in wanted if level < len(values)}

    def _distrust(self, level: int) -> None:
        """Gives a cheap attack up once its copies rank trials no better than chance would.

        By the trials that trained the next stage as well, at least eight; those that still wait
        for a promotion by the cheap attack's scores are out, since nothing speaks for them.
        """
        if level < 0 or not self._fidelity(level):
            return
        pairs = self._promotions.pairs(level)
        if len(pairs) < _TRUSTED_TRIALS:
            return
        from scipy.stats import spearmanr  # takes a second, and most searches need none

        scores, later = zip(*pairs, strict=True)
        if len({*scores}) == 1 or len({*later}) == 1 or spearmanr(scores, later).statistic > 0:
            return
        self._misled[level] = self._ledger.begun(self._scenario)
        self._promotions.forget(level)
        length = self._rungs.copies[level]
        self.notes.append(
            f"scheduler.fidelity misleads: of {len(pairs)} trials, the scores of the copies of "
            f"{length} epochs and of the next stage rank against each other; copies of {length} "
            "epochs train with the whole attack from now on"
        )
        self._ledger.remember(self._scenario, "misled", sorted(self._misled.items()))

    def _from_stem(self, task: Task) -> Task:
        """The task with its shared beginning, where another trial may have the same."""
        config = task.training_config()
        if not may_share(self._space, config):
            return task
        stem = stem_of(config, device=task.device, threads=task.threads)
        # a probe inside the stem would see the late parameters of the branch that made it
        if stem is None or any(epoch <= stem.epochs for epoch in task.probe_at):
            return task
        path = self._folder.stems.resolve() / f"{stem.key}.pt"
        return replace(task, stem=str(path), stem_epochs=stem.epochs)

    def _branch(self, task: Task) -> None:
        """Queues the siblings of a trial whose stem is there: the same early parameters."""
        branches, number = self._space.searcher.branches, task.number
        if branches == 1 or self._space.searcher.enumerates:
            return
        row = self._ledger.row(self._scenario, number)
        if "branch_of" in row.user_attrs:
            return
        late = late_paths(task.training_config())
        early = {p: v for p, v in self._params[number].items() if p not in late}
        there = self._ledger.count(self._scenario, branch_of=number)
        for _ in range(branches - 1 - there):
            self._ledger.enqueue(self._scenario, early, branch_of=number)

    def _trained(self, task: Task, outcome: Outcome) -> int:
        """Epochs that a stage cost: probes with it, what a stem gave without."""
        if not task.path.exists():
            return 0
        stem = (read_json(task.path / "stem.json") or {}).get("epochs", 0)
        probes = sum(epoch <= outcome.epoch for epoch in task.probe_at) * task.probe_epochs
        return max(0, outcome.epoch - int(stem)) + probes
