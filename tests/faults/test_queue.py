"""What the queue does with a task that hangs or lacks memory: a real ledger, reports by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltat_tune.backend.work import NoTask, lets_go_on
from ltat_tune.engine.observers.observer import Observer
from ltat_tune.engine.work_queue import WorkQueue
from ltat_tune.preflight.load import load_space
from ltat_tune.search.rungs import place_rungs
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Task
from ltat_tune.storage.trial_state import state_of
from ltat_tune.storage.trials import read_trials
from tests.drive import MINI, write_space

NAME = "imbalance_ratio_2"


def _queue(
    folder: Path,
    scheduler: Mapping[str, Any] | None = None,
    *,
    observers: Sequence[Observer] = (),
    precision: str | None = None,
) -> WorkQueue:
    space = load_space(
        write_space(
            folder,
            scenarios={"data.imbalance_ratio": [2]},
            searcher={"trials": 3},
            scheduler=scheduler or {"name": "none"},
        )
    )
    rungs = place_rungs(space)
    stopping = EarlyStopping(space.objective.metric, rungs, space.scheduler, (NAME,))
    ledger = Ledger(folder / "ledger.journal", space)
    return WorkQueue(
        space, StudyFolder(folder), ledger, stopping,
        slots=2, device="cpu", rungs=rungs, observers=observers, precision=precision,
    )  # fmt: skip


def _next(queue: WorkQueue, slot: str) -> Task | None:
    task = queue.next_task(slot)
    return None if isinstance(task, NoTask) else task


def _event(**event: Any) -> dict[str, Any]:
    return {"event": {"seconds": 1.0, **event}}


def test_what_needs_more_room_waits_for_it_and_nothing_overtakes_it(tmp_path: Path) -> None:
    queue = _queue(tmp_path)
    first, second = _next(queue, "a"), _next(queue, "b")
    assert first is not None and second is not None and not first.spacious
    assert _next(queue, "c") is None  # both slots are taken
    queue.on_end("a", _event(state="out_of_memory"), error=False)
    assert _next(queue, "c") is None  # a slot is free, but it needs two
    queue.on_end("b", _event(state="failed", reason="of its own"), error=False)
    again = _next(queue, "c")
    assert again is not None
    assert (again.key, again.spacious, queue.room(again)) == (first.key, True, 2)
    assert _next(queue, "d") is None  # it has both slots
    queue.on_end("c", _event(state="failed", reason="out of GPU memory twice"), error=False)
    assert [state_of(row) for row in queue.ledger.finished(NAME)] == ["failed", "failed"]
    third = _next(queue, "d")
    assert third is not None and (third.number, third.spacious) == (2, False)


def test_a_task_that_hangs_again_and_again_fails_with_what_was_seen(tmp_path: Path) -> None:
    queue = _queue(tmp_path)
    assert _next(queue, "a") is not None
    queue.on_hang("a", "it reported nothing for 700 s, where an epoch takes 3.0 s")
    queue.on_end("a", None, error=True)
    (row,) = queue.ledger.finished(NAME)
    assert state_of(row) == "failed"
    assert row.user_attrs["reason"].startswith("hangs: it reported nothing for 700 s, where")
    assert "raise resources.hang_floor_s or hang_factor" in row.user_attrs["reason"]


def test_a_worker_that_dies_while_the_study_stops_fails_nothing(tmp_path: Path) -> None:
    queue = _queue(tmp_path)
    assert _next(queue, "a") is not None
    queue.stop("stopped by SIGTERM")
    queue.on_end("a", None, error=True)
    assert queue.ledger.finished(NAME) == []
    assert len(queue.ledger.unfinished(NAME)) == 1


def _epoch(epoch: int, score: float, *, replayed: bool = False) -> dict[str, Any]:
    metrics = {MINI["objective"]["metric"]: score}
    return {"epoch": epoch, "metrics": metrics, "epoch_seconds": 1.0, "replayed": replayed}


def test_a_decision_that_its_driver_did_not_live_to_write_is_made_again(tmp_path: Path) -> None:
    rungs = {"rungs": "prefix", "grace_epochs": 1, "reduction_factor": 2}
    queue = _queue(tmp_path, rungs)
    first, second = _next(queue, "a"), _next(queue, "b")
    assert first is not None and second is not None
    assert lets_go_on(queue.stopping, first, _epoch(1, 0.5))
    queue.on_report("a", _epoch(1, 0.5))
    assert not lets_go_on(queue.stopping, second, _epoch(1, 0.4))
    decided = queue.stopping.stopped[second.key].sentence
    assert decided == "40.0 % at epoch 1 is rank 2 of 2, below the threshold of 50.0 %"
    # kill -9 here: the second's score is in its checkpoint alone
    resumed = _queue(tmp_path, rungs)
    tasks = {task.key: slot for slot in "ab" if (task := _next(resumed, slot)) is not None}
    assert set(tasks) == {first.key, second.key}
    report = _epoch(1, 0.4, replayed=True)
    assert not lets_go_on(resumed.stopping, second, report)
    resumed.on_report(tasks[second.key], report)
    resumed.on_end(tasks[second.key], report, error=False)
    _, stopped, *_ = read_trials(StudyFolder(tmp_path))
    assert (stopped.state, stopped.reason) == ("pruned", decided)


class _Notes(Observer):
    """Keeps the notes that a study shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def on_note(self, text: str) -> None:
        self.shown.append(text)

    def on_epoch(
        self, task: Task, epoch: int, metrics: dict[str, float], epoch_seconds: float
    ) -> None:
        pass


def test_what_every_worker_notes_is_shown_once(tmp_path: Path) -> None:
    notes = _Notes()
    queue = _queue(tmp_path, observers=(notes,))
    report = {"metrics": {}, "epoch_seconds": 1.0, "replayed": False, "note": "no graphs here"}
    for slot in ("a", "b"):
        assert _next(queue, slot) is not None
        for epoch in (1, 2):
            queue.on_report(slot, {"epoch": epoch, **report})
    queue.on_report("b", {"note": "the GPU no longer answers"})
    assert notes.shown == ["no graphs here", "the GPU no longer answers"]


def test_every_task_is_told_the_precision_of_the_study(tmp_path: Path) -> None:
    queue = _queue(tmp_path, precision="bf16")
    task = _next(queue, "a")
    assert task is not None and task.precision == "bf16"
    assert Task.from_json(task.to_json()).precision == "bf16"
