"""Which states of a training reach the disk: all of them if that is quick, else some, in time."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.training import saving
from ltat_tune.training.saving import Saver
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny


class Disk:
    """Takes some seconds of its own clock for a state, and keeps the epochs that were written."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0
        self.epochs: list[int] = []
        self.error: OSError | None = None

    def clock(self) -> float:
        return self.now

    def write(self, path: Path, state: dict[str, Any]) -> None:
        self.now += self.seconds
        if self.error is not None:
            raise self.error
        self.epochs.append(int(state["epoch"]))


def _saved(
    disk: Disk, epoch_s: float, epochs: int, *, must: tuple[int, ...] = ()
) -> dict[int, list[int]]:
    """The epochs on the disk after each epoch."""
    after: dict[int, list[int]] = {}
    done = [0]
    with Saver(
        Path("checkpoint.pt"), lambda: {"epoch": done[0]}, write=disk.write, clock=disk.clock
    ) as saver:
        for epoch in range(1, epochs + 1):
            disk.now += epoch_s
            done[0] = epoch
            saver.after_epoch(epoch, must=epoch in must)
            while saver.writing:
                time.sleep(0.001)
            after[epoch] = list(disk.epochs)
    return after


def test_a_quick_state_is_written_after_each_epoch() -> None:
    assert _saved(Disk(0.01), 1.0, 4)[4] == [1, 2, 3, 4]


def test_a_slow_state_takes_a_twentieth_of_the_time() -> None:
    """Writing takes 0.5 s, so states are 10 s apart: 1, then 11 (1.5 + 10 <= 11.5), 21 ..."""
    assert _saved(Disk(0.5), 1.0, 40)[40] == [1, 11, 21, 31]


def test_a_kill_costs_at_most_a_minute_and_an_epoch() -> None:
    """Writing takes 10 s, and a twentieth would be 200 s. Epochs of 7 s: 9 of them are 63 s."""
    disk = Disk(10)
    kept = _saved(disk, 7.0, 60)
    lost = [epoch - saved[-1] for epoch, saved in kept.items()]
    assert max(lost) * 7 < saving.LONGEST_S + 7
    assert len(disk.epochs) < 12


def test_what_must_not_be_lost_is_written_when_the_epoch_is_reported() -> None:
    kept = _saved(Disk(0.5), 1.0, 8, must=(3, 8))
    assert [kept[epoch][-1] for epoch in (2, 3, 8)] == [1, 3, 8]


def test_a_training_does_not_wait_for_a_slow_disk_and_what_is_written_does_not_change() -> None:
    began, goes_on, written = threading.Event(), threading.Event(), []
    clock = iter(range(0, 100_000, 100))

    def write(path: Path, state: dict[str, Any]) -> None:
        if state["epoch"] > 1:
            began.set()
            assert goes_on.wait(20)
        written.append((state["epoch"], state["weight"].tolist(), state["lists"]))

    weight, lists, epoch = torch.zeros(2), [[1]], [1]
    saver = Saver(
        Path("checkpoint.pt"),
        lambda: {"epoch": epoch[0], "weight": weight, "lists": lists},
        write=write,
        clock=lambda: float(next(clock)),
    )
    with saver:
        saver.after_epoch(1, must=True)
        epoch[0] = 2
        saver.after_epoch(2, must=False)
        assert began.wait(20)
        weight += 1
        lists.append([2])
        epoch[0] = 3
        saver.after_epoch(3, must=False)  # the thread is busy
        goes_on.set()
        epoch[0] = 4
        saver.after_epoch(4, must=True)
    assert written[1:] == [(2, [0.0, 0.0], [[1]]), (4, [1.0, 1.0], [[1], [2]])]


def test_what_the_thread_cannot_write_ends_the_training() -> None:
    disk = Disk(0.5)
    with Saver(
        Path("checkpoint.pt"), lambda: {"epoch": 1}, write=disk.write, clock=disk.clock
    ) as saver:
        saver.after_epoch(1, must=False)
        disk.error = OSError(28, "No space left on device")
        disk.now += 100
        saver.after_epoch(2, must=False)
        with pytest.raises(OSError, match="No space left"):
            saver.after_epoch(3, must=True)


def test_a_training_that_is_stopped_saves_its_last_epoch_whatever_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "QUICK_S", 0.0)  # every disk is slow
    config, path = tiny(optim__epochs=4), tmp_path / "checkpoint.pt"
    straight = Trainer(config).fit()

    def stop(done: Any) -> None:
        if done.epoch == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        Trainer(config).fit(stop, checkpoint=path)
    replayed: list[int] = []
    resumed = Trainer(config).fit(
        lambda done: replayed.append(done.epoch) if done.replayed else None, checkpoint=path
    )
    assert replayed == [1, 2, 3]
    assert resumed.weights == straight.weights
