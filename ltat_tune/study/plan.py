"""Which configurations are confirmed, and which of their weights are tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.config import TrialConfig
from ltat_tune.study.folder import StudyFolder, read_json
from ltat_tune.study.ledger import Ledger, state_of
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
        validate_at=validate_at,
        number=number,
    )


def ranking(ledger: Ledger, scenario: str) -> list[FrozenTrial]:
    """Complete trials of a scenario, best first; equal scores in the order of their numbers."""
    complete = [row for row in ledger.finished(scenario) if state_of(row) == "complete"]
    return sorted(complete, key=lambda row: (-(row.value or 0.0), row.number))


def candidates(space: Space, ledger: Ledger, scenario: str) -> list[Candidate]:
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
    space: Space, folder: StudyFolder, ledger: Ledger, scenario: str, *, device: str
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
    space: Space, folder: StudyFolder, ledger: Ledger, scenario: str, *, device: str
) -> list[Task]:
    """Test measurements that are still to be done, of confirmations that trained to their end."""
    tasks = []
    for candidate in candidates(space, ledger, scenario):
        for seed in space.confirm.seeds:
            training = confirmation(space, folder, scenario, candidate, seed, device=device)
            trained = read_json(training.path / "result.json")
            if trained is None or trained["state"] != "complete":
                continue
            measured = read_json(training.path / "test.json") or {"per_class": {}}
            if all(f"test/{a}" in measured["per_class"] for a in space.confirm.attacks):
                continue
            tasks.append(
                Task(**{**vars(training), "key": f"{training.key}/test", "kind": "test",
                        "attacks": space.confirm.attacks})
            )  # fmt: skip
    return tasks


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

    With the trial's own seed it continues the trial's checkpoint: the same training, so a complete
    trial is not trained twice and a stopped one only finishes.
    """
    where = space.scenario(scenario)
    config: TrialConfig = space.config(where, candidate.params, **{"seeds.seed": seed})
    own_seed = space.config(where, candidate.params).seeds.seed
    path: Path = folder.confirmation(scenario, config.recipe, seed).resolve()
    earlier = str(folder.trial(scenario, candidate.number).resolve()) if seed == own_seed else ""
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
        start_from=earlier,
        number=candidate.number,
    )
