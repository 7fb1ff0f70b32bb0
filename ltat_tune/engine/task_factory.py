"""Makes the tasks of a study: trainings of trials and confirmations, tests and sentinels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ltat_tune.results.selection import (
    Candidate,
    candidates,
    confirmation_of,
    is_tested,
    winner,
)
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Task
from ltat_tune.storage.training_files import SENTINEL, read_complete, read_training
from ltat_tune.storage.trial_state import Rows


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
    """Return the task that trains one proposed configuration."""
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


def every_confirmation(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """Return the training of every candidate with every seed, done or not."""
    return [
        confirmation_task(space, folder, scenario, candidate, seed, device=device)
        for candidate in candidates(space, ledger, scenario)
        for seed in space.confirm_seeds
    ]


def confirmation_tasks(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """Return the confirmations that remain: those without an end."""
    tasks = every_confirmation(space, folder, ledger, scenario, device=device)
    return [task for task in tasks if read_training(task.path) is None]


def test_tasks(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """Return the tests that remain, of confirmations that trained to their end."""
    return [
        test_of(training, space.confirm.attacks)
        for training in every_confirmation(space, folder, ledger, scenario, device=device)
        if read_complete(training.path) is not None and not is_tested(space, training.path)
    ]


def test_of(training: Task, attacks: tuple[str, ...] = ()) -> Task:
    """Return the task that tests what the task of a confirmation trained."""
    return replace(training, key=f"{training.key}/test", kind="test", attacks=attacks)


def sentinel_tasks(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, *, device: str
) -> list[Task]:
    """Return the task that looks for gradient masking in the winner: a list of one or none.

    The sentinel runs after the test of the winner's weights. It chooses nothing: the winner stays
    the winner whatever the sentinel reports. With a radius of 0 there is no sentinel.
    """
    best = winner(space, folder, ledger, scenario)
    if not space.confirm.sentinel or best is None or not is_tested(space, best.path):
        return []
    if best.config.measured_eps == 0 or (best.path / SENTINEL).exists():
        return []
    first = confirmation_task(space, folder, scenario, best.candidate, best.seed, device=device)
    return [replace(first, key=f"{first.key}/sentinel", kind="sentinel")]


def confirmation_task(
    space: Space,
    folder: StudyFolder,
    scenario: str,
    candidate: Candidate,
    seed: int,
    *,
    device: str,
) -> Task:
    """Return the task that trains one candidate with one seed.

    If the trial already trained with this seed, the task continues that checkpoint. It is the same
    training, so a complete one is not repeated and a stopped one only finishes.
    """
    training = confirmation_of(space, folder, scenario, candidate, seed)
    earlier = ""
    if seed in space.search_seeds:
        trained = folder.trial(scenario, candidate.number).resolve()
        own = seed == space.search_seeds.start
        earlier = str(trained if own else trained / f"seed-{seed}")
    return Task(
        key=training.key,
        kind="confirmation",
        scenario=scenario,
        config=training.config.flat(),
        folder=str(training.path),
        cache=str(folder.cache.resolve()),
        threads=space.resources.cpus_per_trial,
        device=device,
        epochs=training.config.optim.epochs,
        plugins=tuple(plugin.as_data() for plugin in space.plugins),
        start_from=earlier,
        number=candidate.number,
    )
