"""Mirrors of what MLflow gets: TensorBoard's event files, and Weights & Biases."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ltat_tune.engine.observers.observer import Observer
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import SEARCH, Outcome, Task
from ltat_tune.storage.training_files import read_complete, read_test


class _Run(Protocol):
    """One run in a mirror."""

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch."""

    def close(self, metrics: Mapping[str, float], state: str) -> None:
        """Write the last metrics and the state, and end the run."""


class MirrorObserver(Observer):
    """Writes each trial and each confirmation as a run of one mirror.

    Args:
        begin: opens the run of a task.
    """

    def __init__(self, begin: Any) -> None:
        self._begin = begin
        self._runs: dict[str, _Run] = {}

    def on_start(self, task: Task) -> None:
        """Open the run, unless it is open; what has no numbers of its own opens none."""
        if task.kind not in ("part", "sentinel") and task.run_key not in self._runs:
            self._runs[task.run_key] = self._begin(task)

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Log an epoch, as MLflow's run does: a run has one step for each epoch."""
        if task.kind not in ("copy", "repeat"):
            self.on_start(task)
            self._runs[task.run_key].log(epoch, {**metrics, "time/epoch_seconds": seconds})

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """End the run; the test of a confirmation opens it again, and adds its metrics."""
        if task.kind in ("part", "sentinel"):
            return
        self.on_start(task)
        trained = read_complete(task.path) if task.kind in SEARCH else None
        measured = read_test(task.path) if task.kind == "test" else None
        metrics = {
            **(trained.metrics if trained else {}),
            **(measured.metrics if measured else {}),
        }
        self._runs.pop(task.run_key).close(metrics, outcome.state)


def mirrors_of(space: Space, folder: StudyFolder) -> list[Observer]:
    """Return the observers of the mirrors that the space file names."""
    makers = {"tensorboard": _tensorboard, "wandb": _wandb}
    return [MirrorObserver(makers[name](folder, space)) for name in space.resources.mirrors]


def _tensorboard(folder: StudyFolder, space: Space) -> Any:
    def begin(task: Task) -> _Run:
        from torch.utils.tensorboard import SummaryWriter

        place = folder.root / "tensorboard" / task.run_key
        writer = SummaryWriter(str(place))
        return _TensorBoardRun(writer, task)

    return begin


class _TensorBoardRun:
    def __init__(self, writer: Any, task: Task) -> None:
        self._writer, self._epoch = writer, 0
        lines = (f"    {path}: {value}" for path, value in task.config.items())
        writer.add_text("configuration", "\n".join(lines))

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._epoch = epoch
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self, metrics: Mapping[str, float], state: str) -> None:
        self.log(self._epoch, {n: v for n, v in metrics.items() if n.startswith("test/")})
        self._writer.add_text("state", state)
        self._writer.close()


def _wandb(folder: StudyFolder, space: Space) -> Any:
    def begin(task: Task) -> _Run:
        import wandb

        # nothing leaves the machine unasked
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        uid = str(folder.read_facts().get("uid", ""))
        run = wandb.init(
            project=space.name,
            name=task.run_key,
            group=task.scenario,
            id=re.sub(r"[^A-Za-z0-9_.-]", "-", f"{uid}-{task.run_key}"),
            resume="allow",
            dir=str(_made(folder.root / "wandb")),
            config=dict(task.config),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        return _WandbRun(run)

    return begin


class _WandbRun:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"epoch": epoch, **metrics}, step=epoch)

    def close(self, metrics: Mapping[str, float], state: str) -> None:
        self._run.summary.update({**metrics, "state": state})
        self._run.finish()


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
