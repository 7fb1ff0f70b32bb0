"""A study's events as MLflow runs, and the repair of runs that a dead driver left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.engine.mlflow_pages import images_of
from ltat_tune.errors import CheckpointError
from ltat_tune.results.wording import masking_line
from ltat_tune.space.space import Space
from ltat_tune.storage.task import SEARCH, Outcome, Task
from ltat_tune.storage.training_files import SENTINEL, read_complete, read_masking, read_test
from ltat_tune.tracking import Tracker


class MlflowObserver:
    """Tells the tracker of trials, confirmations, their tests and the sentinel's looks.

    Args:
        tracker: the study's tracker.
        space: the study's space.
    """

    def __init__(self, tracker: Tracker, space: Space) -> None:
        self._tracker, self._space = tracker, space

    def on_start(self, task: Task) -> None:
        """Opens the task's run; a test or a sentinel's look belongs to its confirmation's."""
        config = TrialConfig.from_flat(task.config)
        kind = "trial" if task.kind in SEARCH else "confirmation"
        tags = {
            "kind": kind,
            "scenario": task.scenario,
            "trial": f"t{task.number:04d}",
            "identity": config.identity,
            "recipe": config.recipe,
            "selected_on_test": str(self._space.selected_on_test).lower(),
            "state": "running",
        }
        scenario, _, name = task.title.partition("/")  # columns are narrow: the number first
        self._tracker.begin(task.run_key, f"{name} {scenario}", task.config, tags)

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Logs an epoch; the rate is how fast this task trained, whatever else ran.

        A run has one step for an epoch, so of copies and further seeds only what they ended with
        is logged, by `close`.
        """
        if task.kind in ("copy", "repeat"):
            return
        speed = {"time/epoch_seconds": seconds, "time/epochs_per_second": 1 / seconds}
        self._tracker.log(task.run_key, epoch, {**metrics, **speed})

    def on_retry(self, task: Task, why: str) -> None:
        """Nothing: the run goes on."""

    def on_stage_end(self, task: Task, outcome: Outcome) -> None:
        """Nothing: `close` reads what the stage left on disk."""

    def on_note(self, text: str) -> None:
        """Nothing: it is said on the terminal."""

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """Closes the run; a confirmation that is to be tested stays open until it is."""
        if (
            task.kind == "confirmation"
            and outcome.state == "complete"
            and self._space.confirm.attacks
        ):
            return
        if task.kind == "sentinel":
            self._close_again(task, outcome)
        else:
            self.close(task, outcome)

    def close(self, task: Task, outcome: Outcome) -> None:
        """Writes what the task left on disk, and its state."""
        folder = task.path
        files: dict[str, str] = {}
        tags = {"seconds": f"{outcome.seconds:.1f}"}
        trained = read_complete(folder)
        measured = read_test(folder) if task.kind == "test" else None
        per_class = {**(trained.per_class if trained else {}),
                     **(measured.per_class if measured else {})}  # fmt: skip
        if per_class:
            files["per_class_accuracy.json"] = json.dumps(per_class, indent=2)
        if trained is not None:
            files["training_predictions_by_epoch.json"] = json.dumps(trained.predicted)
            tags["subset_hash"] = trained.subset_hash
            tags["samples_per_class"] = json.dumps(trained.samples_per_class)
        if outcome.reason:
            tags["reason"] = outcome.cause[:500]
            if outcome.state != "pruned":
                files["error.txt"] = outcome.reason
        if measured is not None:
            tags["test_images"] = json.dumps(measured.images)
        artifacts: tuple[Path, ...] = (folder / "config.yaml",)
        if task.kind == "test":  # the sentinel's report is there if a run is mended after it
            artifacts = (*artifacts, folder / "checkpoint.pt", folder / SENTINEL)
        seen, says = _seen(folder) if task.kind == "test" else ({}, {})
        self._tracker.end(
            task.run_key,
            outcome.state,
            metrics={**(measured.metrics if measured else {}), **seen, **_stages(folder)},
            tags={**tags, **says},
            files=files,
            artifacts=artifacts,
            images=images_of(TrialConfig.from_flat(task.config), trained) if trained else None,
        )

    def _close_again(self, task: Task, outcome: Outcome) -> None:
        """Adds what the sentinel saw to the run of a tested confirmation, which stays complete."""
        metrics, tags = _seen(task.path)
        files: dict[str, str] = {}
        if outcome.state != "complete":
            tags = {"sentinel": outcome.state, "sentinel_says": outcome.cause[:500]}
            files["sentinel_error.txt"] = outcome.reason
        self._tracker.end(
            task.run_key, "complete", metrics=metrics, tags=tags, files=files,
            artifacts=(task.path / SENTINEL,),
        )  # fmt: skip

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


def _seen(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Metrics and tags of the sentinel's report; empty while there is none."""
    report = read_masking(folder)
    if report is None:
        return {}, {}
    tags = {"sentinel": report.verdict, "sentinel_says": masking_line(report)}
    return {"test/sentinel_triggered": float(len(report.triggered))}, tags


def _stages(folder: Path) -> dict[str, float]:
    """Final metrics of a trial's copies and further seeds, such as `copy-6/val/pgd20_acc`."""
    found: dict[str, float] = {}
    for path in sorted([*folder.glob("copy-*"), *folder.glob("seed-*")]):
        trained = read_complete(path)
        metrics = trained.metrics if trained else {}
        found |= {f"{path.name}/{name}": value for name, value in metrics.items()}
    return found


def _history(checkpoint: Path) -> list[Any]:
    """[epoch, metrics, seconds] of every epoch that a checkpoint knows; empty without one."""
    if not checkpoint.exists():
        return []
    from ltat_tune.training.checkpoint import read_history

    try:
        return read_history(checkpoint)
    except CheckpointError:  # torn by a power cut; its run then lacks the epochs
        return []
