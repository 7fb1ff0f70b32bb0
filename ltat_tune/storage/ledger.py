"""The ledger: Optuna's journal on disk, with one Optuna study per scenario and one row per trial.

The driver is its only writer. A row that is RUNNING when a driver starts belongs to a dead driver.
The new driver takes over the same row, so a trial never has two.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ltat_tune.search.optuna_internals import (
    JudgedStudy,
    has_queued_row,
    is_queued,
    set_row_fact,
    set_score,
    set_violation,
    stored,
    trial_of,
)
from ltat_tune.search.predict.observed import COPY_FIRST, whole_trainings
from ltat_tune.search.rungs import buys_copies, copy_cost, place_rungs
from ltat_tune.search.searchers import build_sampler
from ltat_tune.search.tried import SearchExhausted, Tried
from ltat_tune.space.space import Scenario, Space
from ltat_tune.storage.journal import check_ledger, check_trials, drop_torn_line
from ltat_tune.storage.task import Outcome

ROW_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    # PRUNED without a score: TPE ranks it last without an invented number. It would ignore FAIL.
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_REPEATS = 10  # most repeats in a row; then a configuration is drawn for the sampler


class Ledger:
    """A journal with a study for every scenario; opened if it exists, else created.

    Args:
        path: the journal file.
        space: scenarios, parameters, searcher.
    """

    def __init__(self, path: Path, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # The study's own lock keeps other writers out, so a lock file here is a dead driver's.
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
        drop_torn_line(path)
        check_ledger(path)
        self._space = space
        # what a trial costs that is only copied at, in whole trainings
        self._copy_cost = copy_cost(space, place_rungs(space)) if buys_copies(space) else 0.0
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        self._tried = {s.name: Tried(space, s) for s in space.scenarios}
        self._studies: dict[str, optuna.Study] = {}
        for place, scenario in enumerate(space.scenarios):
            self._studies[scenario.name] = self._open(storage, scenario, place)
            self._recount(scenario.name)
        check_trials(path, {s.name: len(self.rows(s.name)) for s in space.scenarios})
        self._running: dict[tuple[str, int], optuna.Trial] = {}

    def _open(self, storage: Any, scenario: Scenario, place: int) -> optuna.Study:
        optuna.create_study(
            storage=storage,
            study_name=scenario.name,
            load_if_exists=True,
            directions=["maximize"] * len(self._space.objective.values),
        )
        study = JudgedStudy(scenario.name, storage, pruner=optuna.pruners.NopPruner())
        rows = len(study.get_trials(deepcopy=False))
        study.sampler = build_sampler(self._space, place=place, rows=rows)
        # Only these points are ever proposed, so existing rows are the first points of the list.
        for point in self._space.enumerated[rows:]:
            study.enqueue_trial(dict(point))
        warm_starts = self._space.warm_starts.get(scenario.name, ())
        for point in () if self._space.enumerated else (*self._space.start_from, *warm_starts):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study.enqueue_trial(dict(point), skip_if_exists=True)
        return study

    def _recount(self, scenario: str) -> None:
        """Register what each row trains, and end repeats that a driver left when it died."""
        study, tried = self._studies[scenario], self._tried[scenario]
        for row in study.get_trials(deepcopy=False):
            if row.state == TrialState.WAITING:
                continue
            params = row.params
            if row.state == TrialState.RUNNING and not tried.is_whole(params):
                params = self._suggest(trial_of(study, row))
            if row.user_attrs.get("state") == "repeated" and row.state.is_finished():
                tried.leave_out(row.number)
                continue
            earlier = tried.add(row.number, params)
            if earlier is None:
                continue
            if row.state == TrialState.RUNNING:
                self._leave_out(scenario, row.number, earlier)
            else:  # from a version that trained such trials
                tried.begun += 1

    @property
    def scenarios(self) -> list[str]:
        """The names of the scenarios, in the order of the space file."""
        return list(self._studies)

    def study(self, scenario: str) -> optuna.Study:
        """Return Optuna's own study of a scenario, with repeats and what is queued."""
        return self._studies[scenario]

    def unfinished(self, scenario: str) -> list[FrozenTrial]:
        """Return the rows that a dead driver left RUNNING, oldest first."""
        return [row for row in self.rows(scenario) if row.state == TrialState.RUNNING]

    def finished(self, scenario: str) -> list[FrozenTrial]:
        """Return the rows that ended, whatever their state."""
        return [row for row in self.rows(scenario) if row.state.is_finished()]

    def rows(self, scenario: str) -> list[FrozenTrial]:
        """Return the row of every trial with the trial's number: no repeats, nothing queued."""
        tried, trials = self._tried[scenario], []
        for row in self._studies[scenario].get_trials(deepcopy=False):
            if row.state == TrialState.WAITING or tried.is_repeat(row.number):
                continue
            if tried.trial_number(row.number) != row.number:
                row = copy.copy(row)
                row.number = tried.trial_number(row.number)
            trials.append(row)
        return trials

    def row(self, scenario: str, number: int) -> FrozenTrial:
        """Return the present row of one trial."""
        place = self._tried[scenario].row_number(number)
        row = copy.copy(self._studies[scenario].get_trials(deepcopy=False)[place])
        row.number = number
        return row

    def count(self, scenario: str, **facts: Any) -> int:
        """Return how many rows, begun or queued, have these facts."""
        rows = self._studies[scenario].get_trials(deepcopy=False)
        return sum(all(r.user_attrs.get(k) == v for k, v in facts.items()) for r in rows)

    def begun(self, scenario: str) -> int:
        """Return how many trials were proposed, ended or not; queued points do not count yet."""
        return self._tried[scenario].begun

    def exhausted(self, scenario: str) -> str:
        """Return why a search ends before its trials: a sentence, or an empty text."""
        return str(self._studies[scenario].user_attrs.get("exhausted", ""))

    def left(self, scenario: str) -> float:
        """Return how many more whole trainings `searcher.trials` pays for."""
        trials = self._space.searcher.trials
        if not self._copy_cost:
            return trials - self.begun(scenario)
        return trials - whole_trainings(self.rows(scenario), self._copy_cost)

    def is_searched(self, scenario: str) -> bool:
        """Return whether nothing more is to be proposed."""
        return self.left(scenario) < 1 - 1e-9 or bool(self.exhausted(scenario))

    def has_queued(self, scenario: str) -> bool:
        """Return whether a point waits that is proposed before the searcher is asked."""
        return bool(has_queued_row(self._studies[scenario]))

    def trains_already(self, scenario: str, params: Mapping[str, Any]) -> bool:
        """Return whether a trial trains the same as these parameters."""
        return self._tried[scenario].has(params)

    def propose(
        self,
        scenario: str,
        params: Mapping[str, Any] | None = None,
        *,
        copy_first: bool = False,
        within: Mapping[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Return the number of a new trial and its proposed parameters, which no other trial has.

        Args:
            scenario: its name.
            params: what to propose; the sampler proposes what is missing.
            copy_first: note in the trial's row that a copy trains first.
            within: what to propose if these are tried already; by default the sampler proposes.

        Raises:
            SearchExhausted: every configuration has been tried.
        """
        if params is not None:  # the row has its fact from its first moment on
            self.enqueue(scenario, params, **({COPY_FIRST: True} if copy_first else {}))
        study, tried = self._studies[scenario], self._tried[scenario]
        if why := self.exhausted(scenario):
            raise SearchExhausted(why)
        repeats = 0
        while repeats < _REPEATS and (not self._space.enumerated or has_queued_row(study)):
            trial = study.ask()
            params = self._suggest(trial)
            earlier = tried.add(trial.number, params)
            if earlier is None:
                return self._begin(scenario, trial, params)
            repeats += within is not None or not is_queued(stored(study, trial))
            self._leave_out(scenario, trial.number, earlier)
            if within is not None and repeats < _REPEATS:
                self.enqueue(scenario, within)
        point = None if self._space.enumerated else self._untried(scenario, within)
        if point is None:
            title = self._space.scenario(scenario).title
            why = (
                f"{title}: every configuration has been tried, so the search ends after "
                f"{tried.begun} of {self._space.searcher.trials} trials"
            )
            study.set_user_attr("exhausted", why)
            raise SearchExhausted(why)
        study.enqueue_trial(point)
        trial = study.ask()
        params = self._suggest(trial)
        tried.add(trial.number, params)
        return self._begin(scenario, trial, params)

    def _untried(self, scenario: str, within: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a configuration that no trial has, with the values of `within` if one is left."""
        seed = self._space.searcher.seed + len(self._studies[scenario].get_trials(deepcopy=False))
        point = self._tried[scenario].untried(seed, within) if within else None
        return point or self._tried[scenario].untried(seed)

    def take_over(self, scenario: str, row: FrozenTrial) -> tuple[int, dict[str, Any]]:
        """Take over the row of a dead driver. Return the trial's number and its parameters."""
        trial = trial_of(self._studies[scenario], row)
        return self._begin(scenario, trial, self._suggest(trial))

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's warning about grouped conditional spaces
            return self._space.suggest(trial)

    def _begin(
        self, scenario: str, trial: optuna.Trial, params: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        number = self._tried[scenario].trial_number(trial.number)
        self._running[scenario, number] = trial
        return number, params

    def _leave_out(self, scenario: str, repeat: int, earlier: int) -> None:
        """End the row of a repeated proposal like the earlier row, so that samplers learn from it.

        Both numbers are Optuna's. An earlier row that still trains has no result yet.
        """
        study, tried = self._studies[scenario], self._tried[scenario]
        row, original = (study.get_trials(deepcopy=False)[n] for n in (repeat, earlier))
        set_row_fact(study, row, "same_as", tried.trial_number(earlier))
        set_row_fact(study, row, "state", "repeated")
        state = original.state if original.state.is_finished() else TrialState.FAIL
        if state != TrialState.FAIL:
            for epoch, score in original.intermediate_values.items():
                set_score(study, row, epoch, score)
            for metric, violation in original.constraints.items():
                set_violation(trial_of(study, row), metric, violation)
        study.tell(repeat, original.values if state == TrialState.COMPLETE else None, state=state)
        tried.leave_out(repeat)

    def record(self, scenario: str, number: int, epoch: int, value: float) -> None:
        """Record a score after an epoch, unless the row has one already."""
        study, trial = self._studies[scenario], self._running[scenario, number]
        there = stored(study, trial).intermediate_values
        if math.isfinite(value) and epoch not in there:  # a replayed epoch has one
            set_score(study, trial, epoch, value)

    def note(self, scenario: str, number: int, **facts: Any) -> None:
        """Write facts of an unfinished trial into its row."""
        for name, value in facts.items():
            self._running[scenario, number].set_user_attr(name, value)

    def note_seeds(
        self, scenario: str, number: int, seeds: list[dict[str, float]], outcome: Outcome
    ) -> Outcome:
        """Write the metrics of each seed so far into an unfinished row.

        Return the last one's outcome, doubted if one of them is, with the first reason.
        """
        reason = self.row(scenario, number).user_attrs.get("reason") or outcome.reason
        self.note(scenario, number, seeds=seeds, **({"reason": reason} if reason else {}))
        return replace(outcome, reason=reason, claimed=None)

    def remember(self, scenario: str, name: str, value: Any) -> None:
        """Keep a fact of a scenario's whole search."""
        self._studies[scenario].set_user_attr(name, value)

    def recall(self, scenario: str, name: str) -> Any:
        """Return what `remember` kept, or None."""
        return self._studies[scenario].user_attrs.get(name)

    def enqueue(self, scenario: str, params: Mapping[str, Any], **facts: Any) -> None:
        """Queue values that are proposed next; the sampler completes them."""
        self._studies[scenario].enqueue_trial(dict(params), user_attrs=facts)

    def finish(self, scenario: str, number: int, outcome: Outcome, value: float | None) -> None:
        """End a row for good.

        Args:
            scenario: its name.
            number: the trial's number.
            outcome: how it ended; its metrics include the other objectives and the bounded ones.
            value: the score of a complete trial.
        """
        trial = self._running.pop((scenario, number))
        trial.set_user_attr("state", outcome.state)
        trial.set_user_attr("epochs", outcome.epoch)
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason[-4000:])
        claimed = (outcome.claimed or {}).get(self._space.objective.metric)
        if claimed is not None:
            trial.set_user_attr("claimed", claimed)
        state = ROW_STATES[outcome.state]
        measured = {**(outcome.metrics or {}), self._space.objective.metric: value}
        scores = {name: measured.get(name) for name in self._space.objective.metrics}
        if any(score is None or not math.isfinite(score) for score in scores.values()):
            state = TrialState.FAIL if state == TrialState.COMPLETE else state
        if state != TrialState.COMPLETE:
            self._studies[scenario].tell(trial.number, state=state)
            return
        for metric, bound in self._space.objective.at_least.items():
            set_violation(trial, metric, bound - (scores[metric] or 0.0))
        values = [scores[name] or 0.0 for name in self._space.objective.values]
        self._studies[scenario].tell(trial.number, values, state=state)

    def scores(self, row: FrozenTrial) -> Mapping[int, float]:
        """Return epoch -> score of one row."""
        return row.intermediate_values
