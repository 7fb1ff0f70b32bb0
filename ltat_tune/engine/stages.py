"""Makes the tasks of a trial's stages: copies, its own training, and repeats with other seeds."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

from ltat_tune.engine.task_factory import trial_task
from ltat_tune.files import read_json
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stems import may_share, stem_of
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Outcome, Task


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
        stem = (read_json(task.path / "stem.json") or {}).get("epochs", 0)
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
