"""The ledger: Optuna's journal on disk, one Optuna study per scenario, one row per trial.

The driver is its only writer. A row that is RUNNING when a driver starts belongs to a dead one;
the new driver takes the same row over, so a trial never has two.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ltat_tune.study.space import Scenario, Space
from ltat_tune.study.tasks import Outcome

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    # PRUNED without a score: TPE ranks it last, no number is made up (FAIL would be forgotten).
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Ledger:
    """Opens or makes the journal and a study in it for every scenario.

    Args:
        path: the journal file.
        space: scenarios, parameters, searcher.
    """

    def __init__(self, path: Path, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # The study's own lock keeps other writers out, so a lock file here is a dead driver's.
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
        _drop_torn_line(path)
        self._space = space
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        self._studies = {s.name: self._open(storage, s, i) for i, s in enumerate(space.scenarios)}
        self._running: dict[tuple[str, int], optuna.Trial] = {}

    def _open(self, storage: Any, scenario: Scenario, index: int) -> optuna.Study:
        study = optuna.create_study(
            storage=storage,
            study_name=scenario.name,
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.NopPruner(),
        )
        # Another seed for each start: a resumed searcher must not repeat its first proposals.
        seed = (
            self._space.searcher.seed * 1009 + index * 101 + len(study.get_trials(deepcopy=False))
        )
        study.sampler = _sampler(self._space, seed)
        # Nothing else is ever asked for, so the rows that there are come first in the list.
        for point in self._space.enumerated[len(study.get_trials(deepcopy=False)) :]:
            study.enqueue_trial(dict(point))
        for point in () if self._space.enumerated else self._space.start_from:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study.enqueue_trial(dict(point), skip_if_exists=True)
        return study

    def unfinished(self, scenario: str) -> list[FrozenTrial]:
        """Rows that a dead driver left RUNNING, oldest first."""
        return self._studies[scenario].get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def finished(self, scenario: str) -> list[FrozenTrial]:
        """Rows that ended, whatever their state."""
        rows = self._studies[scenario].get_trials(deepcopy=False)
        return [row for row in rows if row.state.is_finished()]

    def begun(self, scenario: str) -> int:
        """Rows that were proposed, ended or not; queued `start_from` points are not among them."""
        rows = self._studies[scenario].get_trials(deepcopy=False)
        return sum(row.state != TrialState.WAITING for row in rows)

    def propose(self, scenario: str) -> tuple[int, dict[str, Any]]:
        """A new row: its number and the proposed parameters."""
        trial = self._studies[scenario].ask()
        return self._suggest(scenario, trial)

    def take_over(self, scenario: str, row: FrozenTrial) -> tuple[int, dict[str, Any]]:
        """A dead driver's row as one's own; parameters that it lacks are proposed now."""
        trial = optuna.Trial(self._studies[scenario], row._trial_id)
        return self._suggest(scenario, trial)

    def _suggest(self, scenario: str, trial: optuna.Trial) -> tuple[int, dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optuna's word on grouped conditional spaces
            params = self._space.suggest(trial)
        self._running[scenario, trial.number] = trial
        return trial.number, params

    def record(self, scenario: str, number: int, epoch: int, value: float) -> None:
        """A score after an epoch; one that the row has already is left alone."""
        trial = self._running[scenario, number]
        if math.isfinite(value):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a replayed epoch is there already
                trial.report(value, epoch)

    def finish(self, scenario: str, number: int, outcome: Outcome, value: float | None) -> None:
        """Ends a row for good. `value` is the score of a complete trial."""
        trial = self._running.pop((scenario, number))
        trial.set_user_attr("state", outcome.state)
        trial.set_user_attr("epochs", outcome.epoch)
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason[-4000:])
        state = _STATES[outcome.state]
        if state == TrialState.COMPLETE and (value is None or not math.isfinite(value)):
            state = TrialState.FAIL
        values = value if state == TrialState.COMPLETE else None
        self._studies[scenario].tell(trial.number, values, state=state)

    def scores(self, row: FrozenTrial) -> Mapping[int, float]:
        """Epoch -> score of one row."""
        return row.intermediate_values


def _drop_torn_line(path: Path) -> None:
    """Cuts off a last line that a full disk or a power cut left half written.

    Optuna forgives it when reading, but would glue the next record onto it.
    """
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole < path.stat().st_size:
            os.truncate(path, whole)


def state_of(row: FrozenTrial) -> str:
    """complete | pruned | failed | diverged, or running."""
    return str(row.user_attrs.get("state", "running" if not row.state.is_finished() else "failed"))


def _sampler(space: Space, seed: int) -> optuna.samplers.BaseSampler:
    spec = space.searcher
    if spec.name == "random" or spec.enumerates:
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=spec.random_trials,
            multivariate=True,
            group=True,  # conditional parameters are modelled apart, not dropped
            constant_liar=True,  # trials still running push new proposals away from theirs
        )
