"""Optuna's samplers as this study uses them: what each of them sees of earlier trials.

Optuna's own gp, cmaes, nsga2 and nsga3 drop parameters that only some trials have. Its gp and
cmaes ignore trials that were stopped early, and tpe cannot rank those under several objectives.
Its cmaes keeps a pickle in the journal, and qmc starts with a random trial. Checked against Optuna
5.0.
"""

from __future__ import annotations

import copy
import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from ltat_tune.search.optuna_internals import ResumedCmaEs, ShownStudy, join_generation
from ltat_tune.space.domains import Domain
from ltat_tune.space.space import Space

_MODELS_ENDED = ("gp", "cmaes", "nsga2", "nsga3")  # they read only complete trials


def build_sampler(space: Space, *, place: int, rows: int) -> BaseSampler:
    """Return the sampler of one scenario.

    Args:
        space: searcher, objective and tuned parameters.
        place: index of the scenario, from 0: each has random numbers of its own.
        rows: rows that the scenario has already. A resumed searcher must not repeat its first
            proposals; only a Sobol sequence continues where it was.
    """
    spec = space.searcher
    base = spec.seed * 1009 + place * 101
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        main = _main(space, base + rows)
        if spec.enumerates:
            return main
        start = QMCSampler(scramble=True, seed=base) if spec.startup == "qmc" else None
    return _Proposals(main, space, start)


def _main(space: Space, seed: int) -> BaseSampler:
    spec, first = space.searcher, space.searcher.random_trials
    if spec.name == "tpe":
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=first,
            multivariate=True,
            group=True,  # model conditional parameters separately
            constant_liar=True,  # keep proposals away from running trials
        )
    if spec.name == "gp":
        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=first, warn_independent_sampling=False
        )
    if spec.name == "cmaes":
        stepped = any(d.kind == "int" or d.step for d in space.tuned.values())
        return ResumedCmaEs(
            seed=seed,
            n_startup_trials=first,
            with_margin=stepped,  # otherwise its spread gets smaller than a step
            warn_independent_sampling=False,
        )
    size = max(2, first)
    if spec.name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=size)
    if spec.name == "nsga3":
        return optuna.samplers.NSGAIIISampler(seed=seed, population_size=size)
    # for random, and for what predict's start points leave open; grid and list never use it
    return optuna.samplers.RandomSampler(seed=seed)


class _Proposals(BaseSampler):
    """A sampler that sees a `ShownStudy`, with a Sobol sequence for its start.

    Args:
        main: the sampler that proposes.
        space: searcher, objective and tuned parameters.
        start: proposes while `main` models nothing; None leaves that to `main`.
    """

    def __init__(self, main: BaseSampler, space: Space, start: QMCSampler | None) -> None:
        self._main, self._start = main, start
        self._everything = {p: _distribution(d) for p, d in space.tuned.items()}
        self._asked: dict[str, BaseDistribution] = {}
        ended = space.searcher.name in _MODELS_ENDED
        conditional = any(domain.when for domain in space.tuned.values())
        self._idle = {p: _middle(d) for p, d in space.tuned.items()}
        self._fills = ended and conditional
        alone = not space.objective.also and not space.objective.at_least
        self._extends = space.searcher.name in ("gp", "cmaes") and alone

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._asked = self._main.infer_relative_search_space(self._view(study), trial)
        return self._everything if self._start is not None else self._asked

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        values = self._main.sample_relative(self._view(study), trial, self._asked)
        if not values and self._start is not None:
            # every parameter has a dimension, even if it does not exist in this trial
            values = self._start.sample_relative(study, trial, self._everything)
        return values

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        view = self._view(study)
        return self._main.sample_independent(view, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        view = self._view(study)
        self._main.before_trial(view, trial)
        join_generation(self._main, view, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._main.after_trial(self._view(study), trial, state, values)

    def _view(self, study: optuna.Study) -> Any:
        return ShownStudy(study, self.shown)

    def shown(self, rows: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the rows as the sampler sees them."""
        if self._fills:
            rows = [self._filled(row) if row.state.is_finished() else row for row in rows]
        return extended(rows) if self._extends else rows

    def _filled(self, row: FrozenTrial) -> FrozenTrial:
        """Return a row with a middle value for each parameter that does not exist in it."""
        if row.params.keys() >= self._idle.keys():
            return row
        filled = copy.copy(row)
        filled.params = {**self._idle, **row.params}
        filled.distributions = self._everything
        return filled


def extended(rows: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return stopped trials as complete ones, with the end that the other trials suggest.

    The rise from an epoch to the end is the median over complete trials. A diverged trial counts
    as the worst of all. With several objectives, stopped trials stay as they are.
    """
    complete = [row for row in rows if row.state == TrialState.COMPLETE]
    if not complete or len(complete[0].values) > 1:  # rungs see the first objective alone
        return rows
    rises: dict[int, list[float]] = {}
    for row in complete:
        for epoch, score in row.intermediate_values.items():
            rises.setdefault(epoch, []).append(row.values[0] - score)
    rise = {epoch: statistics.median(gains) for epoch, gains in rises.items()}
    ends = {
        row.number: row.intermediate_values[row.last_step] + _nearest(rise, row.last_step)
        for row in rows
        if row.state == TrialState.PRUNED and row.last_step is not None and not _diverged(row)
    }
    worst = min([*(row.values[0] for row in complete), *ends.values()])
    ends |= {row.number: worst for row in rows if _diverged(row)}
    return [_ended(row, ends[row.number]) if row.number in ends else row for row in rows]


def _diverged(row: FrozenTrial) -> bool:
    return row.state == TrialState.PRUNED and row.user_attrs.get("state") == "diverged"


def _nearest(rise: Mapping[int, float], epoch: int) -> float:
    return rise[min(rise, key=lambda other: abs(other - epoch))] if rise else 0.0


def _ended(row: FrozenTrial, value: float) -> FrozenTrial:
    ended = copy.copy(row)
    ended.state, ended.values = TrialState.COMPLETE, [value]
    return ended


def _distribution(domain: Domain) -> BaseDistribution:
    """Return Optuna's distribution of a domain."""
    trial = FixedTrial({domain.path: _middle(domain)})
    domain.suggest(trial)  # type: ignore[arg-type]  # it asks as a Trial does
    return trial.distributions[domain.path]


def _middle(domain: Domain) -> Any:
    """Return the middle of a range, on its own scale; of choices, the first."""
    if domain.kind == "categorical":
        return domain.choices[0]
    if domain.log:
        middle = math.sqrt(domain.low * domain.high)
    else:
        middle = (domain.low + domain.high) / 2
    step = domain.step or (1 if domain.kind == "int" else None)
    if step is not None and not domain.log:
        middle = domain.low + step * round((middle - domain.low) / step)
    return round(middle) if domain.kind == "int" else min(max(middle, domain.low), domain.high)
