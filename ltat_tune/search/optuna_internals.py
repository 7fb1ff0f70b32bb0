"""The only module that uses private names of Optuna (5.0), where the public ones do not suffice.

tests/search/test_optuna_internals.py shows what breaks when one of them changes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.samplers._ga import BaseGASampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class JudgedStudy(optuna.Study):
    """Shows samplers a running trial that passed a rung as a pruned one, with its rung's score.

    A trial that waits for its promotion, or trains on after a rung, is RUNNING in the storage for
    as long as it may still end otherwise. To Optuna's samplers that means nothing, or a bad trial.
    They read trials only through `_get_trials` (Optuna 5.0).
    """

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        if not use_cache:  # not a sampler: others need the true rows
            return super()._get_trials(deepcopy, states, use_cache)
        rows = [_as_judged(row) for row in super()._get_trials(False, None, use_cache)]
        return _selected(rows, states, deepcopy)


def _as_judged(row: FrozenTrial) -> FrozenTrial:
    if row.state != TrialState.RUNNING or not row.intermediate_values:
        return row
    judged = copy.copy(row)
    judged.state = TrialState.PRUNED
    return judged


def _selected(
    rows: Sequence[FrozenTrial], states: Container[TrialState] | None, deepcopy: bool
) -> list[FrozenTrial]:
    selected = [row for row in rows if states is None or row.state in states]
    return copy.deepcopy(selected) if deepcopy else selected


class ShownStudy:
    """A study as a searcher sees it, with all attributes of `optuna.Study`.

    Args:
        study: the study itself.
        shown: turns its rows into those that the searcher sees.
    """

    direction = (
        StudyDirection.MAXIMIZE
    )  # of the first objective, by which tpe ranks stopped trials

    def __init__(
        self, study: optuna.Study, shown: Callable[[list[FrozenTrial]], list[FrozenTrial]]
    ) -> None:
        self._study, self._shown = study, shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        # Only one driver writes, so the rows that were read for this trial are still true. With
        # the cache, the study answers as it does to a sampler (see JudgedStudy).
        return _selected(self._shown(self._study._get_trials(False, None, True)), states, deepcopy)


def join_generation(sampler: BaseSampler, study: Any, trial: FrozenTrial) -> None:
    """Give a trial its generation if the sampler is genetic; others ignore it.

    Otherwise a trial from `start_from` would never ask for a generation, and would be no parent.
    """
    if isinstance(sampler, BaseGASampler):
        sampler.get_trial_generation(study, trial)


class ResumedCmaEs(CmaEsSampler):
    """CMA-ES that begins at the best trial and keeps no pickle in the journal.

    A resumed search replays its generations instead.
    """

    _optimizer: Any = None
    _space: Mapping[str, BaseDistribution]
    _direction: StudyDirection

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._space, self._direction = search_space, study.direction
        return super().sample_relative(study, trial, search_space)

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        return {}

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        import numpy as np

        if self._optimizer is not None:
            return self._optimizer
        steps = not self._with_margin
        transform = optuna._transform._SearchSpaceTransform(
            dict(self._space), transform_step=steps, transform_0_1=True
        )
        begun = [t for t in completed_trials if self._attr_key_generation not in t.system_attrs]
        best = max(begun, key=lambda t: t.values[0], default=None)
        # begin at the best trial so far; Optuna's own begins in the middle of the ranges
        self._x0 = None if best is None else {path: best.params[path] for path in self._space}
        optimizer = self._init_optimizer(transform, self._direction)
        while True:
            generation = self._get_solution_trials(completed_trials, optimizer.generation)
            generation = generation[: optimizer.population_size]
            if len(generation) < optimizer.population_size:
                self._optimizer = optimizer
                return optimizer
            points = [
                t.system_attrs["x_for_tell"]
                if self._with_margin
                else transform.transform(t.params)
                for t in generation
            ]
            optimizer.tell(
                [
                    (np.asarray(x, dtype=float), -float(t.value or 0.0))
                    for x, t in zip(points, generation, strict=True)
                ]
            )


def trial_of(study: optuna.Study, row: FrozenTrial) -> optuna.Trial:
    """Return the trial of a row that exists, to go on with it; Optuna only makes new ones."""
    return optuna.Trial(study, row._trial_id)


def stored(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    """Return a trial's row as the storage has it now."""
    return study._storage.get_trial(trial._trial_id)


def is_queued(row: FrozenTrial) -> bool:
    """Return whether a row was enqueued rather than proposed by a sampler."""
    return "fixed_params" in row.system_attrs


def set_row_fact(study: optuna.Study, row: FrozenTrial, name: str, value: Any) -> None:
    """Write a user attribute into a row that no trial of this process holds."""
    study._storage.set_trial_user_attr(row._trial_id, name, value)


def set_score(
    study: optuna.Study, row: FrozenTrial | optuna.Trial, step: int, value: float
) -> None:
    """Write an intermediate value; `Trial.report` refuses studies of several objectives."""
    study._storage.set_trial_intermediate_value(row._trial_id, step, value)


def rows_of(storage: BaseStorage) -> Iterator[tuple[Any, list[FrozenTrial]]]:
    """Yield every study of a storage, as Optuna's summary, with its rows uncopied."""
    for summary in storage.get_all_studies():
        yield summary, storage.get_all_trials(summary._study_id, deepcopy=False)


def set_violation(trial: optuna.Trial, metric: str, violation: float) -> None:
    """Record by how much a trial misses a bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a dead driver may have written it already
        trial.set_constraint(metric, violation)


def has_queued_row(study: optuna.Study) -> bool:
    """Return whether a point waits in the queue."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
