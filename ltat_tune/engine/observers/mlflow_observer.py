"""Writes a study's events as MLflow runs, and repairs runs that a dead driver left open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ltat_tune.config.effects import why_inert
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.engine.observers.mlflow_pages import images_of
from ltat_tune.engine.observers.observer import Observer
from ltat_tune.presentation.names import counts_in_words
from ltat_tune.results.wording import masking_line
from ltat_tune.space.space import Space
from ltat_tune.storage.task import SEARCH, Outcome, Task
from ltat_tune.storage.training_files import (
    SENTINEL,
    CompleteTraining,
    SecondOpinion,
    read_complete,
    read_masking,
    read_test,
)
from ltat_tune.tracking import Tracker
from ltat_tune.tracking.client import OF_TRIAL
from ltat_tune.tracking.experiment_view import final_metric


class MlflowObserver(Observer):
    """Passes trials, confirmations, their tests and the sentinel's reports to the tracker.

    Args:
        tracker: the study's tracker.
        space: the study's space.
    """

    def __init__(self, tracker: Tracker, space: Space) -> None:
        self._tracker, self._space = tracker, space
        # run key -> name of the stage -> epoch -> seconds
        self._trained: dict[str, dict[str, dict[int, float]]] = {}

    def on_start(self, task: Task) -> None:
        """Open the task's run; a test and a sentinel use their confirmation's run."""
        if task.kind == "part":  # its test has the numbers
            return
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
        if kind == "confirmation":
            tags[OF_TRIAL] = task.trial
        scenario, _, name = task.title.partition("/")  # columns are narrow: the number first
        several = len(self._space.scenarios) > 1
        axes = self._space.scenario(task.scenario).values
        params = {path: value for path, value in task.config.items()
                  if path in axes or why_inert(config, path) is None}  # fmt: skip
        self._tracker.begin(task.run_key, f"{name} {scenario}" if several else name, params, tags)

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Log an epoch and the speed of this task alone.

        A run has one step for each epoch. `close` therefore logs only the final metrics of copies
        and further seeds.
        """
        stages = self._trained.setdefault(task.run_key, {})
        stages.setdefault(_stage(task), {})[epoch] = seconds
        if task.kind in ("copy", "repeat"):
            return
        speed = {"time/epoch_seconds": seconds, "time/epochs_per_second": 1 / seconds}
        self._tracker.log(task.run_key, epoch, {**metrics, **speed})

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """Close the run; a confirmation's run stays open until its test ends."""
        if task.kind == "part":
            return
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
        """Log the task's files, final metrics and state, and end its run.

        The tag `seconds` is the time of all epochs of the run, whatever its state.
        """
        folder = task.path
        files: dict[str, str] = {}
        tags = {"seconds": f"{self._seconds(task):.3f}"}
        trained = read_complete(folder)
        measured = read_test(folder) if task.kind == "test" else None
        per_class = {**(trained.per_class if trained else {}),
                     **(measured.per_class if measured else {})}  # fmt: skip
        if per_class:
            files["per_class_accuracy.json"] = json.dumps(per_class, indent=2)
        if trained is not None:
            files["training_predictions_by_epoch.json"] = json.dumps(trained.predicted)
            tags["subset_hash"] = trained.subset_hash
            tags["samples_per_class"] = counts_in_words(trained.samples_per_class, trained.classes)
        opinion = None if trained is None else trained.second_opinion
        if opinion is not None:
            tags["second_opinion"] = opinion.reason[:500] or "credible"
        if outcome.reason:
            tags["reason"] = outcome.cause[:500]
            if outcome.state in ("failed", "diverged"):
                files["error.txt"] = outcome.reason
        if measured is not None:
            tags["test_images"] = json.dumps(measured.images)
        artifacts: tuple[Path, ...] = (folder / "config.yaml",)
        if task.kind == "test":  # the sentinel's report exists if a run is repaired after it
            artifacts = (*artifacts, folder / "checkpoint.pt", folder / SENTINEL)
        masking, verdict = _masking_of(folder) if task.kind == "test" else ({}, {})
        self._tracker.end(
            task.run_key,
            outcome.state,
            metrics={
                **(measured.metrics if measured else {}),
                **masking,
                **self._final(trained, outcome),
                **_stages(folder),
                **_second_opinion(opinion),
            },
            tags={**tags, **verdict},
            files=files,
            artifacts=artifacts,
            images=images_of(TrialConfig.from_flat(task.config), trained) if trained else None,
        )

    def _final(self, trained: CompleteTraining | None, outcome: Outcome) -> dict[str, float]:
        """Return the objective of what trained to its end and is credible; else nothing."""
        objective = self._space.objective.metric
        if trained is None or outcome.reason or objective not in trained.metrics:
            return {}
        return {final_metric(objective): trained.metrics[objective]}

    def _seconds(self, task: Task) -> float:
        """Return the seconds of the epochs of all stages; earlier starts left theirs in files."""
        reported = self._trained.pop(task.run_key, {})
        for stage, folder in {"": task.path, **_short_and_repeated(task.path)}.items():
            if stage not in reported:
                history = _history(folder / "checkpoint.pt")
                reported[stage] = {epoch: seconds for epoch, _, seconds in history}
        return sum(sum(by_epoch.values()) for by_epoch in reported.values())

    def _close_again(self, task: Task, outcome: Outcome) -> None:
        """Add the sentinel's report to the run of a tested confirmation, which stays complete."""
        metrics, tags = _masking_of(task.path)
        files: dict[str, str] = {}
        if outcome.state != "complete":
            tags = {"sentinel": outcome.state, "sentinel_says": outcome.cause[:500]}
            files["sentinel_error.txt"] = outcome.reason
        self._tracker.end(
            task.run_key, "complete", metrics=metrics, tags=tags, files=files,
            artifacts=(task.path / SENTINEL,),
        )  # fmt: skip

    def repair(self, task: Task, outcome: Outcome) -> None:
        """Bring the run of a task that ended in an earlier process up to date, if it is open."""
        if self._tracker.closed(task.run_key):
            return
        self.replay(task)
        self.close(task, outcome)

    def replay(self, task: Task) -> None:
        """Open the run of a task and write the epochs that it lacks, from the checkpoint."""
        self.on_start(task)
        for epoch, metrics, seconds in _history(task.path / "checkpoint.pt"):
            self.on_epoch(task, epoch, metrics, seconds)


def _masking_of(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Return the metrics and the tags of the sentinel's report; both empty without one."""
    report = read_masking(folder)
    if report is None:
        return {}, {}
    tags = {"sentinel": report.verdict, "sentinel_says": masking_line(report)}
    return {"test/sentinel_triggered": float(len(report.triggered))}, tags


def _second_opinion(opinion: SecondOpinion | None) -> dict[str, float]:
    """Return the share of broken images, and the gap as a share of all; empty without one."""
    if opinion is None:
        return {}
    gap = {} if opinion.gap is None else {"val/second_opinion_gap": opinion.gap}
    return {"val/second_opinion_broken": opinion.share, **gap}


def _stages(folder: Path) -> dict[str, float]:
    """Return the final metrics of copies and further seeds, such as `copy-6/val/pgd20_acc`."""
    finals: dict[str, float] = {}
    for stage, path in _short_and_repeated(folder).items():
        trained = read_complete(path)
        metrics = trained.metrics if trained else {}
        finals |= {f"{stage}/{name}": value for name, value in metrics.items()}
    return finals


def _stage(task: Task) -> str:
    """Return `copy-6` or `seed-2`, the folder's name; "" for the run's own training."""
    return task.path.name if task.kind in ("copy", "repeat") else ""


def _short_and_repeated(folder: Path) -> dict[str, Path]:
    """Return the folders of a trial's copies and further seeds, by name."""
    return {p.name: p for p in sorted([*folder.glob("copy-*"), *folder.glob("seed-*")])}


def _history(checkpoint: Path) -> list[Any]:
    """Return [epoch, metrics, seconds] of each epoch in a checkpoint; a damaged one gives none."""
    from ltat_tune.training.checkpoint import history_if_readable

    return history_if_readable(checkpoint)
