"""Mirrors of MLflow: TensorBoard's event files and W&B's offline runs have its numbers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.engine.observers.mirrors import MirrorObserver, mirrors_of
from ltat_tune.errors import SpaceError
from ltat_tune.preflight.load import load_space
from ltat_tune.storage.folder import STUDY_FORMAT, StudyFolder
from ltat_tune.storage.task import Outcome, Task
from tests.spaces import space_of

TEXT = "tuned: {optim.lr: {type: float, low: 0.1, high: 0.2}}\nresources: {mirrors: [MIRROR]}\n"


def _task(folder: Path, kind: str = "trial") -> Task:
    return Task(
        key="default/t0003", kind=kind,  # type: ignore[arg-type]
        scenario="default", config={"optim.lr": 0.1}, folder=str(folder), cache="", threads=1,
        device="cpu", epochs=2, number=3,
    )  # fmt: skip


def _run(tmp_path: Path, mirror: str) -> StudyFolder:
    """Two epochs of a trial, and one of a copy, which no run shows."""
    space = space_of(tmp_path, TEXT.replace("MIRROR", mirror))
    folder = StudyFolder(tmp_path / "study")
    folder.root.mkdir()
    folder.write_facts({"format": STUDY_FORMAT, "uid": "abc"})
    (observer,) = mirrors_of(space, folder)
    task = _task(tmp_path / "trial")
    observer.on_epoch(_task(tmp_path, "copy"), 1, {"val/pgd20_acc": 0.9}, 1.0)
    observer.on_start(task)
    observer.on_epoch(task, 1, {"val/pgd20_acc": 0.25}, 2.0)
    observer.on_epoch(task, 2, {"val/pgd20_acc": 0.5}, 3.0)
    observer.on_end(task, Outcome("complete", 2, metrics={"val/pgd20_acc": 0.5}))
    return folder


def test_tensorboard_shows_every_epoch(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = _run(tmp_path, "tensorboard")
    events: Any = reader.EventAccumulator(str(folder.root / "tensorboard" / "default" / "t0003"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("val/pgd20_acc")]
    assert shown == [(1, 0.25), (2, 0.5)]
    assert [event.value for event in events.Scalars("time/epoch_seconds")] == [2.0, 3.0]
    assert "state/text_summary" in events.Tags()["tensors"]


def test_wandb_keeps_the_run_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    folder = _run(tmp_path, "wandb")
    (run,) = (folder.root / "wandb").rglob("offline-run-*/run-*.wandb")
    assert run.name == "run-abc-default-t0003.wandb"
    end = time.monotonic() + 20  # W&B's own process writes the rest of the file
    while time.monotonic() < end and b"complete" not in run.read_bytes():
        time.sleep(0.1)
    assert b"val/pgd20_acc" in run.read_bytes() and b"complete" in run.read_bytes()


@pytest.mark.parametrize("kind", ["part", "sentinel"])
def test_a_look_without_numbers_of_its_own_opens_no_run(tmp_path: Path, kind: str) -> None:
    opened: list[Task] = []
    observer = MirrorObserver(opened.append)
    observer.on_start(_task(tmp_path, kind))
    observer.on_end(_task(tmp_path, kind), Outcome("complete", 0))
    assert opened == []


def test_a_mirror_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.yaml").write_text(TEXT.replace("MIRROR", "wandb"))
    with pytest.raises(SpaceError, match=r"names wandb, which is not installed; run `pip install"):
        load_space(tmp_path / "a.yaml")
