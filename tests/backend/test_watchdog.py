"""Which silence the watchdog takes for hanging: trainings, before the first epoch, tests."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from ltat_tune.backend import watchdog
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.storage.task import Task


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the watchdog sees, and no actor to kill."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    monkeypatch.setattr(watchdog, "actor_of", lambda trial: trial)
    return now


def _trial(kind: Any) -> Any:
    task = Task("a/t0001", kind, "a", {}, "", "", 1, "cpu", 3)
    return SimpleNamespace(trial_id=kind, config={"task": task.to_json()})


def test_silence_before_the_first_epoch_and_in_tests_ends_too_after_a_longer_time(
    clock: list[float],
) -> None:
    hung: list[tuple[str, str]] = []
    dog = watchdog.Watchdog(
        ResourcesSpec(hang_factor=5, hang_floor_s=10), lambda *seen: hung.append(seen)
    )
    dog.on_trial_start(0, [], _trial("trial"))
    clock[0] = 49.0  # 5 times 10 s
    dog.on_step_end(0, [])
    assert hung == []
    clock[0] = 51.0
    dog.on_step_end(0, [])
    assert hung.pop() == ("trial", "it reported nothing for 51 s, where none has ended yet")
    dog.on_trial_start(0, [], _trial("trial"))
    dog.on_trial_start(0, [], _trial("test"))
    dog.on_trial_result(0, [], _trial("trial"), {"epoch_seconds": json.dumps(4.0)})
    clock[0] += 21.0  # 5 times 4 s
    dog.on_step_end(0, [])
    assert hung.pop() == ("trial", "it reported nothing for 21 s, where an epoch takes 4.0 s")
    dog.on_trial_result(0, [], _trial("test"), {"metrics": "{}"})  # an attack has ended
    clock[0] += 99.0  # 5 times 5 times 4 s
    dog.on_step_end(0, [])
    assert hung == []
    clock[0] += 2.0
    dog.on_step_end(0, [])
    assert hung.pop() == ("test", "it reported nothing for 101 s, where an epoch takes 4.0 s")
