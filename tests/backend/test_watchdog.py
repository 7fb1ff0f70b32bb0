"""Which silence the watchdog takes for hanging: trainings, before the first epoch, tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from ltat_tune.backend import watchdog
from ltat_tune.backend.local.last_words import cause_of_death
from ltat_tune.methods.natural import Natural
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.storage.task import LOOKS, Task
from ltat_tune.training import heartbeat
from ltat_tune.training.heartbeat import HEARTBEAT
from tests.evaluation.trainings import train_into


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the watchdog sees, and no actor to kill."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    monkeypatch.setattr(watchdog, "actor_of", lambda trial: trial)
    return now


def _trial(kind: Any, folder: str = "") -> Any:
    task = Task("a/t0001", kind, "a", {}, folder, "", 1, "cpu", 3)
    return SimpleNamespace(trial_id=kind, config={"task": task.to_json()})


@pytest.mark.parametrize("look", LOOKS)
def test_silence_before_the_first_epoch_and_in_tests_ends_too_after_a_longer_time(
    clock: list[float], look: str
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
    dog.on_trial_start(0, [], _trial(look))
    dog.on_trial_result(0, [], _trial("trial"), {"epoch_seconds": json.dumps(4.0)})
    clock[0] += 21.0  # 5 times 4 s
    dog.on_step_end(0, [])
    assert hung.pop() == ("trial", "it reported nothing for 21 s, where an epoch takes 4.0 s")
    dog.on_trial_result(0, [], _trial(look), {"metrics": "{}"})  # an attack has ended
    clock[0] += 99.0  # 5 times 5 times 4 s
    dog.on_step_end(0, [])
    assert hung == []
    clock[0] += 2.0
    dog.on_step_end(0, [])
    assert hung.pop() == (look, "it reported nothing for 101 s, where an epoch takes 4.0 s")


def test_an_epoch_whose_batches_go_on_is_slow_and_one_that_stops_in_the_middle_hangs(
    clock: list[float], tmp_path: Path
) -> None:
    hung: list[tuple[str, str]] = []
    dog = watchdog.Watchdog(
        ResourcesSpec(hang_factor=5, hang_floor_s=10), lambda *seen: hung.append(seen)
    )
    dog.on_trial_start(0, [], _trial("trial", str(tmp_path)))
    dog.on_trial_result(0, [], _trial("trial"), {"epoch_seconds": json.dumps(1.0)})
    for batch in range(20):  # 100 s, where 10 are allowed
        (tmp_path / HEARTBEAT).touch()
        os.utime(tmp_path / HEARTBEAT, ns=(batch, batch))
        clock[0] += 5.0
        dog.on_step_end(0, [])
    assert hung == []
    clock[0] += 10.0
    dog.on_step_end(0, [])
    assert hung == []
    clock[0] += 1.0  # 11 s after the last batch was seen
    dog.on_step_end(0, [])
    assert [who for who, _ in hung] == ["trial"]


def test_a_training_beats_in_the_middle_of_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(heartbeat, "_EVERY_S", 0.0)
    method = Natural.training_step

    def step(self: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(heartbeat.last_beat(tmp_path))
        return method(self, *arguments, **options)

    monkeypatch.setattr(Natural, "training_step", step)
    with heartbeat.beating(tmp_path):
        train_into(tmp_path / "t", optim__epochs=1, method__name="natural")
    assert seen[0] == 0 and len(set(seen)) == len(seen) > 1  # each batch moved it
    assert heartbeat.last_beat(tmp_path) == 0  # deleted at the end


_DYING = """
import faulthandler, os, signal, sys
from pathlib import Path
from ltat_tune.backend.local.last_words import last_words
with last_words(Path(sys.argv[1])):
    {how}
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("os._exit(3)", "it ended itself with exit status 3"),
        ("faulthandler._sigsegv()", "it crashed with SIGSEGV"),
        ("os.abort()", "it crashed with SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "it was killed (SIGKILL), and the kernel"),
        ("pass", "it left no word"),
    ],
)
def test_a_worker_that_dies_leaves_word_of_how(how: str, said: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", _DYING.format(how=how), str(tmp_path / "t")], check=False
    )
    assert cause_of_death(tmp_path / "t").startswith(said)
    if "SIGKILL" in how:
        many = cause_of_death(tmp_path / "t", lambda: 10**9)
        assert many == "the kernel killed it, because memory ran out"
