"""Makes the tasks of a study: stages of trials, confirmations, tests with parts, sentinels."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from ltat_tune.planning.looks import look_costs
from ltat_tune.results.selection import (
    Candidate,
    candidates,
    confirmation_of,
    counted_test,
    is_tested,
    winner,
)
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stems import may_share, stem_of
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.task_files import TEST_BATCHES
from ltat_tune.storage.training_files import SENTINEL, read_complete, read_training
from ltat_tune.storage.trial_state import Rows
from ltat_tune.storage.versioned import read_stored


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
        subsets=str(folder.subsets.resolve()),
        threads=space.resources.cpus_per_trial,
        device=device,
        epochs=config.optim.epochs,
        plugins=tuple(plugin.as_data() for plugin in space.plugins),
        validate_at=validate_at,
        number=number,
        second_opinion=space.objective.is_checked,
    )


class Stages:
    """The tasks of one scenario's trials.

    Args:
        space: the study's space.
        folder: the study's folder, which holds the tasks.
        scenario: the scenario's name.
        rungs: the epochs at which trials are judged.
        device: the device on which they train.

    Attributes:
        whole: the stage that is a trial's own training; its repeats follow.
    """

    def __init__(
        self, space: Space, folder: StudyFolder, scenario: str, rungs: Rungs, *, device: str
    ) -> None:
        self._space, self._folder, self._scenario = space, folder, scenario
        self._rungs, self._device = rungs, device
        self.whole = len(rungs.copies)

    def task(
        self, number: int, params: dict[str, Any], stage: int, *, misled: Container[int] = ()
    ) -> Task:
        """Return the task of a trial's stage.

        Args:
            number: the trial's number.
            params: its proposed values.
            stage: 0 is the shortest copy, or the whole training if there are no copies.
            misled: levels of copies whose cheap attack was given up.
        """
        whole = trial_task(
            self._space, self._folder, self._scenario, number, params, device=self._device
        )
        if stage < self.whole:
            length = self._rungs.copies[stage]
            task = replace(
                whole, key=f"{whole.key}/copy-{length}", kind="copy", epochs=length,
                folder=str(whole.path / f"copy-{length}"),
                fidelity={} if stage in misled else self.fidelity(stage),
            )  # fmt: skip
        elif stage == self.whole:
            task = replace(
                whole, validate_at=self._rungs.epochs, probe_at=self._rungs.probes,
                probe_epochs=self._rungs.probe_epochs,
            )  # fmt: skip
        else:
            seed = int(whole.config["seeds.seed"]) + stage - self.whole
            task = replace(
                whole, key=f"{whole.key}/seed-{seed}", kind="repeat", seed=seed,
                folder=str(whole.path / f"seed-{seed}"),
            )  # fmt: skip
        return self._from_stem(task)

    def fidelity(self, level: int) -> dict[str, Any]:
        """Return the values that the copies of a level train with in place of their own."""
        cheaper = self._space.scheduler.cheaper.items()
        return {path: values[level] for path, values in cheaper if level < len(values)}

    def trained(self, task: Task, outcome: Outcome) -> int:
        """Return how many epochs a stage cost, with its probes and without its stem's epochs."""
        if not task.path.exists():
            return 0
        stem = (read_stored(task.path / "stem.json") or {}).get("epochs", 0)
        probes = sum(epoch <= outcome.epoch for epoch in task.probe_at) * task.probe_epochs
        return max(0, outcome.epoch - int(stem)) + probes

    def _from_stem(self, task: Task) -> Task:
        """Return the task with its stem, if another trial may share its early epochs."""
        config = task.training_config()
        if not may_share(self._space, config):
            return task
        stem = stem_of(config, device=task.device, threads=task.threads)
        # a probe inside the stem would see the late parameters of the branch that made it
        if stem is None or any(epoch <= stem.epochs for epoch in task.probe_at):
            return task
        path = self._folder.stems.resolve() / f"{stem.key}.pt"
        return replace(task, stem=str(path), stem_epochs=stem.epochs)


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
        test_of(training, space)
        for training in every_confirmation(space, folder, ledger, scenario, device=device)
        if read_complete(training.path) is not None and not is_tested(space, training.path)
    ]


def part_tasks(tests: Sequence[Task], space: Space, *, slots: int) -> list[Task]:
    """Return the tasks that measure parts of tests before these, so that no slot idles.

    The list is empty where the tests fill the slots, or where parts save next to no time.

    Args:
        tests: those that remain of one scenario.
        space: the study's space.
        slots: how many tasks run at once.
    """
    if len(tests) % max(1, slots) == 0:
        return []
    cost = look_costs(space).get(tests[0].scenario)
    parts = []
    for test in tests[len(tests) // slots * slots :] if cost is not None else ():
        measured = counted_test(space, test.path)
        left = tuple(a for a in test.attacks if measured is None or not measured.has(a))
        assert cost is not None
        sharing = cost.sharing(len(tests), slots, attacks=left)
        parts += [
            replace(
                test, key=f"{test.key}/part-{part}", kind="part", attacks=left, part=part,
                parts=sharing.parts, start_from=test.folder,
                folder=str(test.path / TEST_BATCHES / f"part-{part}"),
            )
            for part in range(1, sharing.parts + 1) if sharing.parts > 1
        ]  # fmt: skip
    return parts


def test_of(training: Task, space: Space) -> Task:
    """Return the task that tests what the task of a confirmation trained."""
    return replace(
        training, key=f"{training.key}/test", kind="test", attacks=space.confirm.attacks,
        test_images=space.confirm.test_images,
    )  # fmt: skip


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
    return [
        replace(
            first, key=f"{first.key}/sentinel", kind="sentinel",
            test_images=space.confirm.test_images,
        )
    ]  # fmt: skip


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
        subsets=str(folder.subsets.resolve()),
        threads=space.resources.cpus_per_trial,
        device=device,
        epochs=training.config.optim.epochs,
        plugins=tuple(plugin.as_data() for plugin in space.plugins),
        start_from=earlier,
        number=candidate.number,
        second_opinion=space.objective.is_checked,
    )
