"""How much each tuned parameter matters in a scenario, and how sure that is.

Everything is computed over an in-memory copy of a scenario's trials; the ledger is only read.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial, TrialState

LEAST = 6  # trials below which nothing is said
_ENOUGH = 12  # complete trials from which on only the end counts
_TOP = 5  # trials that PED-ANOVA should find among the best, by its documentation
PED_DRAWS, FANOVA_DRAWS = 40, 20  # resamples, and as many shuffles; a forest takes its time
_TREES = 24  # of fANOVA's
_INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class ImportanceEstimate:
    """A share of what matters, in [0, 1]; the shares of one method sum to 1.

    Attributes:
        share: over all judged trials.
        low: 5th percentile over resampled trials.
        high: 95th percentile.
        chance: 95th percentile of the share where the scores are shuffled among the trials.
    """

    share: float
    low: float
    high: float
    chance: float

    @property
    def is_clear(self) -> bool:
        """Whether it is more than 95 % of shuffles give: a permutation test at 5 %."""
        return self.share > self.chance


@dataclass(frozen=True)
class Importance:
    """How much one parameter matters.

    Attributes:
        path: the parameter.
        fanova: its share among the parameters that all judged trials have; else None.
        ped_anova: its share among all parameters in reaching the best trials.
        active: judged trials that have it.
    """

    path: str
    fanova: ImportanceEstimate | None
    ped_anova: ImportanceEstimate
    active: int

    @property
    def is_clear(self) -> bool:
        """Whether either method finds more than chance gives."""
        return self.ped_anova.is_clear or (self.fanova is not None and self.fanova.is_clear)


@dataclass(frozen=True)
class Importances:
    """Of one scenario.

    Attributes:
        values: most important first, by fANOVA, then by PED-ANOVA; empty where `why_not` speaks.
        trials: judged trials that they are computed over.
        epochs: at which these were scored; None is their end.
        why_not: why nothing can be said.
    """

    values: tuple[Importance, ...]
    trials: int
    epochs: int | None
    why_not: str = ""


def importances(rows: Sequence[FrozenTrial], *, seed: int = 0) -> Importances:
    """Importance of every tuned parameter, with its uncertainty.

    fANOVA (Hutter2014Efficient) and PED-ANOVA (Watanabe2023PED, arXiv:2304.10255; in its
    conditional form for parameters that only some trials have), both as Optuna has them. Each
    with an interval over resampled trials, and with what it gives for shuffled scores.

    Scored by the trials' ends where enough were trained to it; else by the rung that most trials
    reached, or only the best few would be looked at.

    Args:
        rows: the scenario's trials, repeats left out.
        seed: of resampling, shuffling and fANOVA's forest.
    """
    epochs, scored = judged(rows)
    scores = [score for _, score in scored]
    if len(scored) < LEAST:
        why = f"{len(scored)} trials have a score, and fewer than {LEAST} say nothing"
        return Importances((), len(scored), epochs, why)
    if len(set(scores)) == 1:
        return Importances((), len(scored), epochs, "all trials have the same score")
    paths = list(dict.fromkeys(path for row, _ in scored for path in row.params))
    common = [path for path in paths if all(path in row.params for row, _ in scored)]
    draw = random.Random(seed)
    ped_anova = _estimates(scored, paths, draw, PED_DRAWS, _ped_anova)
    fanova: dict[str, ImportanceEstimate] = {}
    if len(common) > 1:  # the share of one alone is 1 and says nothing
        forest = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
        fanova = _estimates(scored, common, draw, FANOVA_DRAWS, lambda sample: forest)
    active = {path: sum(path in row.params for row, _ in scored) for path in paths}
    found = [Importance(p, fanova.get(p), ped_anova[p], active[p]) for p in paths]
    found.sort(key=lambda one: (-(one.fanova.share if one.fanova else -1), -one.ped_anova.share))
    return Importances(tuple(found), len(scored), epochs)


Scored = list[tuple[FrozenTrial, float]]


def judged(rows: Sequence[FrozenTrial]) -> tuple[int | None, Scored]:
    """(epochs, trials with their score there): the end, or the rung that most trials reached.

    The end where a dozen trials came to it; epochs are None then.
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


def _resampled(scored: Scored, draw: random.Random) -> Scored:
    while True:
        chosen = draw.choices(scored, k=len(scored))
        if len({score for _, score in chosen}) > 1:
            return chosen


def _shuffled(scored: Scored, draw: random.Random) -> Scored:
    mixed = draw.sample([score for _, score in scored], len(scored))
    return [(row, score) for (row, _), score in zip(scored, mixed, strict=True)]


def _ped_anova(scored: Scored) -> BaseImportanceEvaluator:
    """With so many trials taken for the best that their densities can be told."""
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
            warnings.simplefilter("ignore")  # Optuna's, about parameters that are constant
            found = get_param_importances(
                as_study(sample), evaluator=evaluator(sample), params=present
            )
        return {path: float(found.get(path, 0.0)) for path in paths}

    whole = shares(scored)
    resampled = [shares(_resampled(scored, draw)) for _ in range(draws)]
    shuffled = [shares(_shuffled(scored, draw)) for _ in range(draws)]
    return {
        path: ImportanceEstimate(
            whole[path],
            *_percentiles([one[path] for one in resampled], *_INTERVAL),
            *_percentiles([one[path] for one in shuffled], _INTERVAL[1]),
        )
        for path in paths
    }


def as_study(scored: Scored) -> optuna.Study:
    """A maximising study in memory that holds these trials, complete, with these scores."""
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
