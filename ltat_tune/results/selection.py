"""Which configurations are confirmed, in which order they stand, and which of them wins."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.results.model import standing
from ltat_tune.results.pareto import pareto_front
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_complete, read_test
from ltat_tune.storage.trial_state import Rows, is_feasible, score_of, state_of


@dataclass(frozen=True)
class Candidate:
    """A configuration to confirm: a winner of the search, or the baseline, or both."""

    number: int  # of its trial
    params: dict[str, Any]
    is_baseline: bool
    is_winner: bool


@dataclass(frozen=True)
class Confirmation:
    """One candidate trained with one seed: its configuration, and the folder of its files."""

    scenario: str
    candidate: Candidate
    seed: int
    config: TrialConfig
    path: Path

    @property
    def recipe(self) -> str:
        """The configuration without its seed, as 8 hex digits: equal for all seeds."""
        return self.path.name.rpartition("-seed")[0]

    @property
    def key(self) -> str:
        """The name of its task, and of its MLflow run: `scenario/recipe-seed0`."""
        return f"{self.scenario}/{self.path.name}"


def confirmation_of(
    space: Space, folder: StudyFolder, scenario: str, candidate: Candidate, seed: int
) -> Confirmation:
    """Return where one candidate with one seed lies, or will lie."""
    config = space.config(space.scenario(scenario), candidate.params, **{"seeds.seed": seed})
    path = folder.confirmation(scenario, config.recipe, seed).resolve()
    return Confirmation(scenario, candidate, seed, config, path)


def ranking(ledger: Rows, scenario: str) -> list[FrozenTrial]:
    """Complete trials of a scenario that keep every bound of `objective.at_least`, best first.

    By the objective's own metric alone; equal scores in the order of their numbers.
    """
    complete = [row for row in ledger.finished(scenario) if score_of(row) is not None]
    feasible = [row for row in complete if is_feasible(row)]
    return sorted(feasible, key=lambda row: (-(score_of(row) or 0.0), row.number))


def front(ledger: Rows, scenario: str) -> list[FrozenTrial]:
    """Trials of `ranking` that no other beats in every objective; with one, the best alone."""
    ranked = ranking(ledger, scenario)
    return [ranked[place] for place in pareto_front([row.values for row in ranked])]


def infeasible(space: Space, ledger: Rows, scenario: str) -> str:
    """Why nothing can win although trials were completed: a sentence, or nothing."""
    complete = [row for row in ledger.finished(scenario) if score_of(row) is not None]
    if not complete or any(is_feasible(row) for row in complete):
        return ""
    bounds = space.objective.at_least
    nearest = min(complete, key=lambda row: sum(max(0.0, v) for v in row.constraints.values()))
    wanted = ", ".join(f"{metric} {bound:g}" for metric, bound in bounds.items())
    reached = ", ".join(f"{metric} {bounds[metric] - nearest.constraints[metric]:.3f}"
                        for metric in bounds)  # fmt: skip
    return (
        f"no trial wins: none of {len(complete)} complete ones keeps objective.at_least "
        f"({wanted}); the nearest is t{nearest.number:04d} with {reached}"
    )


def candidates(space: Space, ledger: Rows, scenario: str) -> list[Candidate]:
    """The `confirm.top` best different configurations, then the baseline.

    The baseline is the first entry of `start_from`; its trial may have been stopped early, and is
    trained to its end here. A failed or diverged baseline is left out.
    """
    if space.confirm.top == 0:
        return []
    where = space.scenario(scenario)
    chosen: dict[str, Candidate] = {}
    for row in ranking(ledger, scenario):
        if len(chosen) == space.confirm.top:
            break
        recipe = space.config(where, row.params).recipe
        chosen.setdefault(recipe, Candidate(row.number, dict(row.params), False, True))
    first = [row for row in ledger.finished(scenario) if row.number == 0]
    for row in first if space.start_from else []:
        recipe = space.config(where, row.params).recipe
        if recipe in chosen:
            known = chosen[recipe]
            chosen[recipe] = Candidate(known.number, known.params, True, True)
        elif state_of(row) in ("complete", "pruned"):
            chosen[recipe] = Candidate(row.number, dict(row.params), True, False)
    return list(chosen.values())


def is_tested(space: Space, path: Path) -> bool:
    """Whether the weights of the confirmation in `path` have met all of `confirm.attacks`."""
    measured = read_test(path)
    return all(measured is not None and measured.has(attack) for attack in space.confirm.attacks)


def winner(space: Space, folder: StudyFolder, ledger: Rows, scenario: str) -> Confirmation | None:
    """The best confirmed candidate, as its training with the first seed that came to its end.

    None while no candidate has such a seed, or none keeps `objective.at_least` on average over its
    seeds. Of equals it is the one that the search ranked higher.
    """
    metric, bounds = space.objective.metric, space.objective.at_least
    standings: list[tuple[tuple[int, float], Confirmation]] = []
    for candidate in candidates(space, ledger, scenario):
        if not candidate.is_winner:
            continue
        trained, scores, ends = [], [], []
        for seed in space.confirm.seeds:
            confirmed = confirmation_of(space, folder, scenario, candidate, seed)
            end = read_complete(confirmed.path)
            if end is not None and metric in end.metrics:
                trained.append(confirmed)
                scores.append(end.metrics[metric])
                ends.append(end.metrics)
        if ends and all(_mean(ends, bounded) >= least for bounded, least in bounds.items()):
            standings.append((standing(scores), trained[0]))
    return max(standings, key=lambda found: found[0])[1] if standings else None


def _mean(ends: Sequence[Mapping[str, float]], metric: str) -> float:
    return statistics.fmean(end[metric] for end in ends)
