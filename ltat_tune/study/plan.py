"""Which configurations are confirmed, and which of their weights are tested and looked at."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.config import TrialConfig
from ltat_tune.study.folder import StudyFolder, read_json
from ltat_tune.study.ledger import Rows, is_feasible, score_of, state_of
from ltat_tune.study.space import Space
from ltat_tune.study.tasks import Task


@dataclass(frozen=True)
class Candidate:
    """A configuration to confirm: a winner of the search, or the baseline, or both."""

    number: int  # of its trial
    params: dict[str, Any]
    is_baseline: bool
    is_winner: bool


def trial_task(
    space: Space,
    folder: StudyFolder,
    scenario: str,
    number: int,
    params: dict[str, Any],
    *,
    device: str,
    validate_at: tuple[int, ...] = (),
) -> Task:
    """The training of one proposed configuration."""
    config = space.config(space.scenario(scenario), params)
    return Task(
        key=f"{scenario}/t{number:04d}",
        kind="trial",
        scenario=scenario,
        config=config.flat(),
        folder=str(folder.trial(scenario, number).resolve()),
        cache=str(folder.cache.resolve()),
        threads=space.resources.cpus_per_trial,
        device=device,
        epochs=config.optim.epochs,
        plugins=tuple(plugin.as_data() for plugin in space.plugins),
        validate_at=validate_at,
        number=number,
    )


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
    return [row for row in ranked if not any(_beats(other, row) for other in ranked)]


def _beats(one: FrozenTrial, other: FrozenTrial) -> bool:
    """At least as good in every objective, and better in one or as good but earlier."""
    if any(a < b for a, b in zip(one.values, other.values, strict=True)):
        return False
    return bool(one.values != other.values or one.number < other.number)


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


def confirmations(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """Trainings that are still to be done: every candidate with every seed."""
    tasks = []
    for candidate in candidates(space, ledger, scenario):
        for seed in space.confirm.seeds:
            task = confirmation(space, folder, scenario, candidate, seed, device=device)
            if read_json(task.path / "result.json") is None:
                tasks.append(task)
    return tasks


def tests(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """Test measurements that are still to be done, of confirmations that trained to their end."""
    tasks = []
    for candidate in candidates(space, ledger, scenario):
        for seed in space.confirm.seeds:
            training = confirmation(space, folder, scenario, candidate, seed, device=device)
            trained = read_json(training.path / "result.json")
            if trained is None or trained["state"] != "complete":
                continue
            if is_tested(space, training):
                continue
            tasks.append(
                Task(**{**vars(training), "key": f"{training.key}/test", "kind": "test",
                        "attacks": space.confirm.attacks})
            )  # fmt: skip
    return tasks


def sentinels(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """The winner's look for gradient masking, if it is still to be done: one task or none.

    It comes after its weights' test and chooses nothing: the winner stands before it is looked
    at, and stays the winner whatever is found. A radius of 0 has nothing to look for.
    """
    first = winner(space, folder, ledger, scenario, device=device)
    if not space.confirm.sentinel or first is None or not is_tested(space, first):
        return []
    if first.training_config().measured_eps == 0 or (first.path / "sentinel.json").exists():
        return []
    return [Task(**{**vars(first), "key": f"{first.key}/sentinel", "kind": "sentinel"})]


def is_tested(space: Space, training: Task) -> bool:
    """Whether a confirmation's weights have met every attack of `confirm.attacks`."""
    measured = read_json(training.path / "test.json") or {"per_class": {}}
    return all(f"test/{attack}" in measured["per_class"] for attack in space.confirm.attacks)


def winner(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> Task | None:
    """The best confirmed candidate, as its training with the first seed that came to its end.

    None while no candidate has such a seed, or none keeps `objective.at_least` on average over its
    seeds. Of equals it is the one that the search ranked higher.
    """
    metric, bounds = space.objective.metric, space.objective.at_least
    standings: list[tuple[tuple[int, float], Task]] = []
    for candidate in candidates(space, ledger, scenario):
        if not candidate.is_winner:
            continue
        trained, scores, ends = [], [], []
        for seed in space.confirm.seeds:
            task = confirmation(space, folder, scenario, candidate, seed, device=device)
            found = read_json(task.path / "result.json")
            if found is not None and found["state"] == "complete" and metric in found["metrics"]:
                trained.append(task)
                scores.append(found["metrics"][metric])
                ends.append(found["metrics"])
        if ends and all(_mean(ends, bounded) >= least for bounded, least in bounds.items()):
            standings.append((standing(scores), trained[0]))
    return max(standings, key=lambda found: found[0])[1] if standings else None


def _mean(ends: Sequence[Mapping[str, float]], metric: str) -> float:
    return statistics.fmean(end[metric] for end in ends)


def standing(scores: Sequence[float]) -> tuple[int, float]:
    """What confirmed configurations are ranked by: seeds that trained to their end, then the mean.

    Seeds first, or one that diverges on its bad seeds would win by the good ones that are left.
    """
    return len(scores), statistics.fmean(scores)


def confirmation(
    space: Space,
    folder: StudyFolder,
    scenario: str,
    candidate: Candidate,
    seed: int,
    *,
    device: str,
) -> Task:
    """The training of one candidate with one seed.

    With a seed that the trial has trained already it continues that checkpoint: the same training,
    so a complete one is not trained twice and a stopped one only finishes.
    """
    where = space.scenario(scenario)
    config: TrialConfig = space.config(where, candidate.params, **{"seeds.seed": seed})
    own_seed = space.config(where, candidate.params).seeds.seed
    path: Path = folder.confirmation(scenario, config.recipe, seed).resolve()
    earlier = ""
    if 0 <= seed - own_seed < space.searcher.seeds_per_trial:
        trained = folder.trial(scenario, candidate.number).resolve()
        earlier = str(trained if seed == own_seed else trained / f"seed-{seed}")
    return Task(
        key=f"{scenario}/{config.recipe}-seed{seed}",
        kind="confirmation",
        scenario=scenario,
        config=config.flat(),
        folder=str(path),
        cache=str(folder.cache.resolve()),
        threads=space.resources.cpus_per_trial,
        device=device,
        epochs=config.optim.epochs,
        plugins=tuple(plugin.as_data() for plugin in space.plugins),
        start_from=earlier,
        number=candidate.number,
    )
