"""Estimate how much each tuned parameter matters in a scenario, and test whether it does.

All estimates use an in-memory copy of a scenario's trials. The ledger is only read.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial, TrialState
from scipy.special import betainc
from scipy.stats import rankdata

LEAST_TRIALS = 6  # trials; with fewer there is no estimate
_ENOUGH = 12  # complete trials; from here on only scores at the end count
_TOP = 5  # trials that PED-ANOVA needs among the best, says its documentation
PED_DRAWS, FANOVA_DRAWS = 40, 20  # resamples; fANOVA's forests are slow
_TREES = 24  # in fANOVA's forest
_INTERVAL = (0.05, 0.95)
CLEAR_P = 0.05  # of the one test of a scenario
_SHUFFLES = 1999
_ROUNDING = 1e-9  # of two shuffles that are equal but for the order of their sums
_SAME = 1e-7  # singular values below it are rounding
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class ImportanceEstimate:
    """A parameter's share of the importance, in [0, 1]; the shares of one method sum to 1.

    Attributes:
        share: estimated from all judged trials.
        low: 5th percentile over resampled trials.
        high: 95th percentile.
    """

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """How much one parameter matters.

    Attributes:
        path: the parameter.
        fanova: its share among the parameters that all judged trials have; None for the others.
        ped_anova: its share among all parameters in reaching the best trials.
        active: number of judged trials that have the parameter.
        p: of the test whether the score depends on it, corrected for all parameters; see
            `corrected_p`.
    """

    path: str
    fanova: ImportanceEstimate | None
    ped_anova: ImportanceEstimate
    active: int
    p: float

    @property
    def is_clear(self) -> bool:
        """Whether the score depends on it by more than chance gives."""
        return self.p <= CLEAR_P


@dataclass(frozen=True)
class Importances:
    """The importance of all tuned parameters of one scenario.

    Attributes:
        values: most important first, by fANOVA, then by PED-ANOVA; empty if `why_not` is set.
        trials: number of judged trials behind the estimates.
        epochs: the epoch at which these were scored; None is their end.
        why_not: why there is no estimate, or empty.
    """

    values: tuple[Importance, ...]
    trials: int
    epochs: int | None
    why_not: str = ""


def importances(rows: Sequence[FrozenTrial], *, seed: int = 0) -> Importances:
    """Return the importance of every tuned parameter, with its uncertainty.

    The methods are fANOVA (Hutter2014Efficient) and PED-ANOVA (Watanabe2023PED, arXiv:2304.10255;
    in its conditional form for parameters that only some trials have), both as Optuna implements
    them. Each estimate has an interval over resampled trials. Shares say what matters more, not
    whether it matters: some parameter has the largest share of noise, too. `corrected_p` tests
    that.

    Scores are those at the trials' ends if enough trials were trained to their end. Otherwise
    they are those at the rung that most trials reached, because the ends alone would show only
    the best few trials.

    Args:
        rows: the scenario's trials, without repeats.
        seed: for resampling, shuffling and fANOVA's forest.
    """
    epochs, scored = judged(rows)
    scores = [score for _, score in scored]
    if len(scored) < LEAST_TRIALS:
        why = f"{len(scored)} trials have a score, and at least {LEAST_TRIALS} are needed"
        return Importances((), len(scored), epochs, why)
    if len(set(scores)) == 1:
        return Importances((), len(scored), epochs, "all trials have the same score")
    paths = list(dict.fromkeys(path for row, _ in scored for path in row.params))
    common = [path for path in paths if all(path in row.params for row, _ in scored)]
    draw = random.Random(seed)
    ped_anova = _estimates(scored, paths, draw, PED_DRAWS, _ped_anova)
    fanova: dict[str, ImportanceEstimate] = {}
    if len(common) > 1:  # a single parameter always has the share 1
        forest = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
        fanova = _estimates(scored, common, draw, FANOVA_DRAWS, lambda sample: forest)
    active = {path: sum(path in row.params for row, _ in scored) for path in paths}
    p_of = corrected_p(scored, paths, seed=seed)
    values = [Importance(p, fanova.get(p), ped_anova[p], active[p], p_of[p]) for p in paths]
    values.sort(key=lambda one: (-(one.fanova.share if one.fanova else -1), -one.ped_anova.share))
    return Importances(tuple(values), len(scored), epochs)


Scored = list[tuple[FrozenTrial, float]]


def judged(rows: Sequence[FrozenTrial]) -> tuple[int | None, Scored]:
    """Return (epochs, trials with their scores there), at the end or at a rung.

    It is the end, with epochs None, if at least 12 trials came to it. Otherwise it is the rung
    that most trials reached, unless as many came to the end.
    """
    ends: Scored = [
        (row, row.values[0]) for row in rows if row.state == TrialState.COMPLETE and row.values
    ]
    by_rung: dict[int, Scored] = {}
    for row in rows:
        for epoch, score in row.intermediate_values.items():
            by_rung.setdefault(epoch, []).append((row, score))
    fullest = max(by_rung, key=lambda e: (len(by_rung[e]), e)) if by_rung else None
    if fullest is None or len(ends) >= _ENOUGH or len(ends) >= len(by_rung[fullest]):
        return None, ends
    return fullest, by_rung[fullest]


def corrected_p(scored: Scored, paths: Sequence[str], *, seed: int = 0) -> dict[str, float]:
    """Return, for each parameter, p of the test whether the score depends on it.

    This is one permutation test over all parameters (max-T of Westfall and Young, 1993): if none
    matters, the chance that any p is at most 0.05 is 5 %. Scores count by their ranks. The
    statistic of a range is the variance that a parabola over the ranks of its values explains;
    that of a choice, the variance between its values. Only trials that have the parameter count.
    To compare statistics of unlike parameters, each becomes the p that it would have under normal
    noise. p = (1 + shuffles in which any parameter is as extreme) / (1 + shuffles).

    Once a parameter has p of at most 0.05, what it explains is taken out, and the rest are tested
    again on the residuals (Freedman and Lane, 1983). A searcher that learns moves all parameters
    together, and without this step they would share the credit of the one that acts.

    The test is exact if the scores are exchangeable among the trials where no parameter matters.
    That holds where proposals do not depend on scores (random, qmc, grid, list). Where they do
    (tpe, gp, cmaes), more trials are drawn near scores that were good by chance. With tpe, 6.1 %
    of null studies of 30 trials then have a clear parameter (scripts/bench_importance.py).

    Args:
        scored: trials with their scores.
        paths: the parameters.
        seed: of the shuffles.
    """
    generator = np.random.default_rng(seed)
    ranks = rankdata([score for _, score in scored])
    columns = {path: _columns(scored, path) for path in paths}
    explained = np.ones((len(ranks), 1))  # the mean, then what clear parameters explain
    p_of: dict[str, float] = {}
    least = 0.0  # p never falls from one step to the next
    while remaining := [path for path in paths if path not in p_of]:
        residuals = _without(ranks[None], explained)
        shuffles = generator.permuted(np.tile(residuals, (_SHUFFLES, 1)), axis=1)
        samples = np.vstack([residuals, shuffles])  # (1 + shuffles, trials)
        extreme = np.stack([_extremeness(samples, columns[path], explained) for path in remaining])
        as_extreme = (extreme[:, 1:].max(axis=0) >= extreme[:, :1] - _ROUNDING).sum(axis=1)
        p = np.maximum((1 + as_extreme) / (1 + _SHUFFLES), least)
        first = int(np.argmax(extreme[:, 0]))
        if p[first] > CLEAR_P:
            return p_of | dict(zip(remaining, map(float, p), strict=True))
        p_of[remaining[first]] = least = float(p[first])
        explained = np.hstack([explained, columns[remaining[first]]])
    return p_of


def _columns(scored: Scored, path: str) -> _Values:
    """Return what may explain scores by a parameter: (trials, functions), 0 for trials without it.

    A choice has a column for each value, a range its centred ranks and their squares.
    """
    there = [place for place, (row, _) in enumerate(scored) if path in row.params]
    values = [scored[place][0].params[path] for place in there]
    distribution = scored[there[0]][0].distributions[path]
    if isinstance(distribution, CategoricalDistribution):
        own = np.array([[value == choice for choice in distribution.choices] for value in values])
    else:
        ranks = rankdata(values) / len(values)
        ranks -= ranks.mean()
        own = np.stack([ranks, ranks**2, np.ones(len(ranks))], axis=1)
    columns = np.zeros((len(scored), own.shape[1]))
    columns[there] = own
    return columns


def _extremeness(samples: _Values, columns: _Values, explained: _Values) -> _Values:
    """Return -log p of each sample's scores on one parameter under normal noise, (samples,)."""
    there = columns.any(axis=1)
    known = _orthonormal(explained[there])
    own = _orthonormal(_without(columns[there].T, known).T)
    terms = own.shape[1]
    left = int(there.sum()) - known.shape[1] - terms  # degrees of freedom of the noise
    if terms == 0 or left < 1:
        return np.zeros(len(samples))
    scores = _without(samples[:, there], known)
    total = (scores**2).sum(axis=1)
    share = ((scores @ own) ** 2).sum(axis=1) / np.where(total > _ROUNDING, total, np.inf)
    # 1 - share has a beta distribution under normal noise
    p = betainc(left / 2, terms / 2, np.clip(1 - share, 0.0, 1.0))
    extremeness: _Values = -np.log(np.maximum(p, np.finfo(np.float64).tiny))
    return extremeness


def _without(rows: _Values, columns: _Values) -> _Values:
    """Return rows, (N, trials), without what columns, (trials, functions), explain of them."""
    basis = _orthonormal(columns)
    return rows - (rows @ basis) @ basis.T


def _orthonormal(columns: _Values) -> _Values:
    """Return an orthonormal basis of the span of columns, (trials, dimensions)."""
    basis, scales, _ = np.linalg.svd(columns, full_matrices=False)
    kept: _Values = basis[:, scales > _SAME]
    return kept


def _resampled(scored: Scored, draw: random.Random) -> Scored:
    while True:
        chosen = draw.choices(scored, k=len(scored))
        if len({score for _, score in chosen}) > 1:
            return chosen


def _ped_anova(scored: Scored) -> BaseImportanceEvaluator:
    """Return PED-ANOVA with a quantile that leaves enough best trials to estimate densities."""
    quantile = min(1.0, max(0.1, _TOP / len(scored)))
    return PedAnovaImportanceEvaluator(target_quantile=quantile)


def _estimates(
    scored: Scored,
    paths: list[str],
    draw: random.Random,
    draws: int,
    evaluator: Callable[[Scored], BaseImportanceEvaluator],
) -> dict[str, ImportanceEstimate]:
    def shares(sample: Scored) -> dict[str, float]:
        present = [path for path in paths if any(path in row.params for row, _ in sample)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns of constant parameters
            importance_of = get_param_importances(
                as_study(sample), evaluator=evaluator(sample), params=present
            )
        return {path: float(importance_of.get(path, 0.0)) for path in paths}

    whole = shares(scored)
    resampled = [shares(_resampled(scored, draw)) for _ in range(draws)]
    return {
        path: ImportanceEstimate(
            whole[path], *_percentiles([one[path] for one in resampled], *_INTERVAL)
        )
        for path in paths
    }


def as_study(scored: Scored) -> optuna.Study:
    """Return a maximising in-memory study of these trials, all complete, with these scores."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials([
        optuna.trial.create_trial(
            params=row.params, distributions=row.distributions, value=score
        )
        for row, score in scored
    ])  # fmt: skip
    return study


def _percentiles(values: Sequence[float], *shares: float) -> list[float]:
    return [float(value) for value in np.quantile(values, shares)]
