"""A study's events as MLflow runs, and the repair of runs that a dead driver left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ltat_tune.config import TrialConfig
from ltat_tune.errors import CheckpointError
from ltat_tune.study.folder import read_json
from ltat_tune.study.space import Space
from ltat_tune.study.tasks import Outcome, Task
from ltat_tune.tracking import Tracker


class MlflowObserver:
    """Tells the tracker of trials, confirmations and their tests.

    Args:
        tracker: the study's tracker.
        space: the study's space.
    """

    def __init__(self, tracker: Tracker, space: Space) -> None:
        self._tracker, self._space = tracker, space

    def on_start(self, task: Task) -> None:
        """Opens the task's run; a test belongs to its confirmation's."""
        config = TrialConfig.from_flat(task.config)
        kind = "confirmation" if task.kind == "test" else task.kind
        tags = {
            "kind": kind,
            "scenario": task.scenario,
            "trial": f"t{task.number:04d}",
            "identity": config.identity,
            "recipe": config.recipe,
            "selected_on_test": str(self._space.selected_on_test).lower(),
            "state": "running",
        }
        self._tracker.begin(task.run_key, task.title.replace("/", " "), task.config, tags)

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Logs an epoch; the rate is how fast this task trained, whatever else ran."""
        speed = {"time/epoch_seconds": seconds, "time/epochs_per_second": 1 / seconds}
        self._tracker.log(task.run_key, epoch, {**metrics, **speed})

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """Closes the run; a confirmation that is to be tested stays open until it is."""
        if (
            task.kind == "confirmation"
            and outcome.state == "complete"
            and self._space.confirm.attacks
        ):
            return
        self.close(task, outcome)

    def close(self, task: Task, outcome: Outcome) -> None:
        """Writes what the task left on disk, and its state."""
        folder = task.path
        files: dict[str, str] = {}
        tags = {"seconds": f"{outcome.seconds:.1f}"}
        trained = read_json(folder / "result.json") or {}
        measured = read_json(folder / "test.json") if task.kind == "test" else None
        per_class = {**trained.get("per_class", {}), **(measured or {}).get("per_class", {})}
        if per_class:
            files["per_class_accuracy.json"] = json.dumps(per_class, indent=2)
        if "predicted" in trained:
            files["training_predictions_by_epoch.json"] = json.dumps(trained["predicted"])
        if "subset_hash" in trained:
            tags["subset_hash"] = trained["subset_hash"]
            tags["samples_per_class"] = json.dumps(trained["samples_per_class"])
        if outcome.reason:
            tags["reason"] = outcome.cause[:500]
            files["error.txt"] = outcome.reason
        if measured is not None:
            tags["test_images"] = json.dumps(measured["images"])
        artifacts: tuple[Path, ...] = (folder / "config.yaml",)
        if task.kind == "test":
            artifacts = (*artifacts, folder / "checkpoint.pt")
        self._tracker.end(
            task.run_key,
            outcome.state,
            metrics=(measured or {}).get("metrics", {}),
            tags=tags,
            files=files,
            artifacts=artifacts,
        )

    def repair(self, task: Task, outcome: Outcome) -> None:
        """Brings the run of a task that ended in an earlier process up to date, if it is not."""
        if self._tracker.closed(task.run_key):
            return
        self.replay(task)
        self.close(task, outcome)

    def replay(self, task: Task) -> None:
        """Opens the run of a task and writes the epochs that it lacks, from the checkpoint."""
        self.on_start(task)
        for epoch, metrics, seconds in _history(task.path / "checkpoint.pt"):
            self.on_epoch(task, epoch, metrics, seconds)


def _history(checkpoint: Path) -> list[Any]:
    """[epoch, metrics, seconds] of every epoch that a checkpoint knows; empty without one."""
    if not checkpoint.exists():
        return []
    from ltat_tune.training.checkpoint import read_history

    try:
        return read_history(checkpoint)
    except CheckpointError:  # torn by a power cut; its run then lacks the epochs
        return []
