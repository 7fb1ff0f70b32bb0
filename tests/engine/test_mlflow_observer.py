"""The MLflow observer: the seconds of a run are those of the epochs that it trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.engine.observers.mlflow_observer import MlflowObserver
from ltat_tune.preflight.load import load_space
from ltat_tune.storage.task import Outcome, Task, TaskKind
from ltat_tune.tracking import Tracker
from ltat_tune.training.checkpoint import save_checkpoint
from tests.drive import write_space

TRIAL = "imbalance_ratio_2/t0000"


class _RecordingTracker:
    """Keeps the tags of every end, and of every run the epochs."""

    def __init__(self) -> None:
        self.ends: list[dict[str, str]] = []
        self.epochs: list[int] = []

    def begin(self, *event: Any) -> None: ...

    def closed(self, key: str) -> bool:
        return False

    def log(self, key: str, step: int, metrics: dict[str, float]) -> None:
        self.epochs.append(step)

    def end(self, key: str, state: str, *, tags: dict[str, str], **more: Any) -> None:
        self.ends.append({"state": state, **tags})


@pytest.fixture
def tracker() -> _RecordingTracker:
    return _RecordingTracker()


@pytest.fixture
def observer(tracker: _RecordingTracker, tmp_path: Path) -> MlflowObserver:
    space = load_space(write_space(tmp_path), check_machine=False)
    return MlflowObserver(cast(Tracker, tracker), space)


def _task(folder: Path, kind: TaskKind = "trial", part: str = "") -> Task:
    return Task(
        key=f"{TRIAL}/{part}" if part else TRIAL, kind=kind, scenario="imbalance_ratio_2",
        config=TrialConfig().flat(), folder=str(folder / part), cache="", threads=1, device="cpu",
        epochs=8,
    )  # fmt: skip


def _report(observer: MlflowObserver, task: Task, *seconds: float) -> None:
    for epoch, second in enumerate(seconds, start=1):
        observer.on_epoch(task, epoch, {}, second)


def _save(folder: Path, *seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    history = [[epoch, {}, second] for epoch, second in enumerate(seconds, start=1)]
    save_checkpoint(folder / "checkpoint.pt", {"history": history})


@pytest.mark.parametrize("state", ["pruned", "failed", "diverged"])
def test_a_trial_that_ends_early_has_the_seconds_of_its_epochs(
    observer: MlflowObserver, tracker: _RecordingTracker, tmp_path: Path, state: Any
) -> None:
    _report(observer, _task(tmp_path), 2.0, 3.5, 1.2)
    observer.on_end(_task(tmp_path), Outcome(state, 3, "why"))
    (end,) = tracker.ends
    assert (end["state"], end["seconds"]) == (state, "6.700")


def test_copies_and_further_seeds_count(
    observer: MlflowObserver, tracker: _RecordingTracker, tmp_path: Path
) -> None:
    _report(observer, _task(tmp_path, "copy", "copy-2"), 1.0, 1.0)
    _report(observer, _task(tmp_path), 4.0, 4.0)
    _report(observer, _task(tmp_path, "repeat", "seed-1"), 0.5)
    observer.on_end(_task(tmp_path), Outcome("complete", 2, seconds=99.0))
    assert tracker.ends[0]["seconds"] == "10.500"
    assert tracker.epochs == [1, 2]


def test_an_epoch_that_is_reported_again_counts_once(
    observer: MlflowObserver, tracker: _RecordingTracker, tmp_path: Path
) -> None:
    _report(observer, _task(tmp_path), 2.0, 3.0)
    _report(observer, _task(tmp_path), 2.0, 3.0, 4.0)
    observer.on_end(_task(tmp_path), Outcome("pruned", 3))
    assert tracker.ends[0]["seconds"] == "9.000"


def test_stages_of_an_earlier_start_are_read_from_their_checkpoints(
    observer: MlflowObserver, tracker: _RecordingTracker, tmp_path: Path
) -> None:
    _save(tmp_path / "copy-2", 1.5, 1.5)
    observer.on_end(_task(tmp_path), Outcome("pruned", 0, "not among the best"))
    _report(observer, _task(tmp_path), 4.0)
    observer.on_end(_task(tmp_path), Outcome("pruned", 1))
    assert [end["seconds"] for end in tracker.ends] == ["3.000", "7.000"]


def test_a_repaired_run_has_them_too(
    observer: MlflowObserver, tracker: _RecordingTracker, tmp_path: Path
) -> None:
    _save(tmp_path, 2.0, 2.0, 2.0)
    observer.repair(_task(tmp_path), Outcome("pruned", 3))
    assert tracker.ends[0]["seconds"] == "6.000"
    assert tracker.epochs == [1, 2, 3]


def test_a_test_closes_the_run_with_the_seconds_of_its_training(
    observer: MlflowObserver, tracker: _RecordingTracker, tmp_path: Path
) -> None:
    _report(observer, _task(tmp_path, "confirmation"), 5.0, 5.0)
    observer.on_end(_task(tmp_path, "confirmation"), Outcome("complete", 2, seconds=12.0))
    test = Task(**{**vars(_task(tmp_path, "test")), "key": f"{TRIAL}/test"})
    observer.on_end(test, Outcome("complete", 2, seconds=30.0))
    assert [end["seconds"] for end in tracker.ends] == ["10.000"]
