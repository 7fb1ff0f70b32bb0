"""Choose the configurations to confirm, rank them, and name the winner."""

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
from ltat_tune.search.predict.observed import is_doubted
from ltat_tune.search.predict.outlook import count_contenders
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import MeasuredOnTest, read_complete, read_test
from ltat_tune.storage.trial_state import Rows, is_feasible, score_of, state_of


@dataclass(frozen=True)
class Candidate:
    """A configuration to confirm: a winner of the search, or the baseline, or both."""

    number: int  # its trial's
    params: dict[str, Any]
    is_baseline: bool
    is_winner: bool


@dataclass(frozen=True)
class Confirmation:
    """One candidate trained with one seed, in its own folder."""

    scenario: str
    candidate: Candidate
    seed: int
    config: TrialConfig
    path: Path

    @property
    def recipe(self) -> str:
        """A hash of the configuration without its seed, 8 hex digits."""
        return self.path.name.rpartition("-seed")[0]

    @property
    def key(self) -> str:
        """The name of its task and of its MLflow run, `scenario/recipe-seed0`."""
        return f"{self.scenario}/{self.path.name}"


def confirmation_of(
    space: Space, folder: StudyFolder, scenario: str, candidate: Candidate, seed: int
) -> Confirmation:
    """Return a candidate's confirmation with one seed, trained or not."""
    config = space.config(space.scenario(scenario), candidate.params, **{"seeds.seed": seed})
    path = folder.confirmation(scenario, config.recipe, seed).resolve()
    return Confirmation(scenario, candidate, seed, config, path)


def ranking(ledger: Rows, scenario: str) -> list[FrozenTrial]:
    """Return the complete trials that keep every bound of `objective.at_least`, best first.

    Only the objective's own metric counts. Trials with equal scores keep the order of their
    numbers. Doubted trials have no rank, unless all are doubted.
    """
    return ranked(ledger.finished(scenario))


def ranked(rows: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return what `ranking` does, of the rows of one scenario."""
    feasible = [row for row in rows if score_of(row) is not None and is_feasible(row)]
    credible = [row for row in feasible if not is_doubted(row)]
    return sorted(credible or feasible, key=lambda row: (-(score_of(row) or 0.0), row.number))


def front(ledger: Rows, scenario: str) -> list[FrozenTrial]:
    """Return the Pareto front of `ranking`; with one objective, the best trial alone."""
    ranked = ranking(ledger, scenario)
    return [ranked[place] for place in pareto_front([row.values for row in ranked])]


def infeasible(space: Space, ledger: Rows, scenario: str) -> str:
    """Return a sentence on why no complete trial can win, or an empty string."""
    complete = [row for row in ledger.finished(scenario) if score_of(row) is not None]
    if not complete or any(is_feasible(row) for row in complete):
        return ""
    bounds = space.objective.at_least
    nearest = min(complete, key=lambda row: sum(max(0.0, v) for v in row.constraints.values()))
    limits = ", ".join(f"{metric} {bound:g}" for metric, bound in bounds.items())
    reached = ", ".join(f"{metric} {bounds[metric] - nearest.constraints[metric]:.3f}"
                        for metric in bounds)  # fmt: skip
    return (
        f"no trial wins: none of the {len(complete)} complete trials reaches objective.at_least "
        f"({limits}); t{nearest.number:04d} comes nearest, with {reached}"
    )


def candidates(space: Space, ledger: Rows, scenario: str) -> list[Candidate]:
    """Return the `confirm.top` best different configurations, then the baseline.

    With `confirm.contenders`, only those of them that may be the best.
    The baseline is the first entry of `start_from`. The confirmation trains it to its end, even
    if its trial was stopped early. A failed or diverged baseline is left out.
    """
    if space.confirm.top == 0:
        return []
    where = space.scenario(scenario)
    chosen: dict[str, Candidate] = {}
    ranks, most = ranking(ledger, scenario), space.confirm.top
    if space.confirm.contenders:
        most = count_contenders(space, ranks, scenario)
    for row in ranks:
        if len(chosen) == most:
            break
        recipe = space.config(where, row.params).recipe
        chosen.setdefault(recipe, Candidate(row.number, dict(row.params), False, True))
    first = [row for row in ledger.finished(scenario) if row.number == 0]
    for row in first if space.start_from else []:
        recipe = space.config(where, row.params).recipe
        if recipe in chosen:
            best = chosen[recipe]
            chosen[recipe] = Candidate(best.number, best.params, True, True)
        elif state_of(row) in ("complete", "pruned"):
            chosen[recipe] = Candidate(row.number, dict(row.params), True, False)
    return list(chosen.values())


def counted_test(space: Space, path: Path) -> MeasuredOnTest | None:
    """Return what the confirmation in `path` reaches on the test images, or None.

    What was measured with another `confirm.test_images` does not count: all models of a study are
    compared on the same images.
    """
    measured = read_test(path)
    return measured if measured is None or measured.part == space.confirm.test_images else None


def is_tested(space: Space, path: Path) -> bool:
    """Return whether the confirmation in `path` was tested with all of `confirm.attacks`."""
    measured = counted_test(space, path)
    return all(measured is not None and measured.has(attack) for attack in space.confirm.attacks)


def winner(space: Space, folder: StudyFolder, ledger: Rows, scenario: str) -> Confirmation | None:
    """Return the best confirmed candidate, with its first seed that trained to its end.

    Return None if no candidate has such a seed, or if none keeps `objective.at_least` on average
    over its seeds. A candidate with a doubted seed wins only if all have one. Among equals, the
    candidate that the search ranked higher wins.
    """
    metric, bounds = space.objective.metric, space.objective.at_least
    standings: list[tuple[tuple[bool, tuple[int, float]], Confirmation]] = []
    for candidate in candidates(space, ledger, scenario):
        if not candidate.is_winner:
            continue
        trained, scores, ends, credible = [], [], [], True
        for seed in space.confirm_seeds:
            confirmed = confirmation_of(space, folder, scenario, candidate, seed)
            end = read_complete(confirmed.path)
            if end is not None and metric in end.metrics:
                trained.append(confirmed)
                scores.append(end.credible[metric])
                ends.append(end.credible)
                credible &= not end.is_doubted
        if ends and all(_mean(ends, bounded) >= least for bounded, least in bounds.items()):
            standings.append(((credible, standing(scores)), trained[0]))
    return max(standings, key=lambda ranked: ranked[0])[1] if standings else None


def _mean(ends: Sequence[Mapping[str, float]], metric: str) -> float:
    return statistics.fmean(end[metric] for end in ends)
