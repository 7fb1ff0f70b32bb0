"""Which silence the watchdog takes for hanging: trainings, before the first epoch, tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from ltat_tune.attacks import heartbeat
from ltat_tune.attacks.heartbeat import HEARTBEAT
from ltat_tune.attacks.named import parse_attack
from ltat_tune.backend import watchdog
from ltat_tune.backend.local.last_words import cause_of_death
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.evaluation.sentinel import watch
from ltat_tune.methods.natural import Natural
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.storage.task import LOOKS, Task
from ltat_tune.training import evaluation
from ltat_tune.training.evaluation import MeasuredPart
from tests.attacks.short_autoattack import shorten_autoattack
from tests.evaluation.trainings import SMALL, train_into


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
    clock[0] += 78.0  # 99 s, where 5 times 5 times 4 s are allowed until its first step
    dog.on_step_end(0, [])
    assert hung == []
    clock[0] += 2.0
    dog.on_step_end(0, [])
    assert hung.pop() == (look, "it reported nothing for 101 s, where an epoch takes 4.0 s")
    dog.on_trial_start(0, [], _trial(look))
    dog.on_trial_result(0, [], _trial(look), {"metrics": "{}"})  # an attack has ended
    clock[0] += 21.0  # 5 times 4 s
    dog.on_step_end(0, [])
    assert hung.pop() == (look, "it reported nothing for 21 s, where an epoch takes 4.0 s")


@pytest.mark.parametrize("kind", ["trial", "test", "sentinel"])
def test_a_task_whose_batches_go_on_is_slow_and_one_that_stops_in_the_middle_hangs(
    kind: str, clock: list[float], tmp_path: Path
) -> None:
    hung: list[tuple[str, str]] = []
    dog = watchdog.Watchdog(
        ResourcesSpec(hang_factor=5, hang_floor_s=10), lambda *seen: hung.append(seen)
    )
    dog.on_trial_start(0, [], _trial("trial", str(tmp_path / "one")))
    dog.on_trial_result(0, [], _trial("trial"), {"epoch_seconds": json.dumps(1.0)})
    dog.on_trial_complete(0, [], _trial("trial"))
    dog.on_trial_start(0, [], _trial(kind, str(tmp_path)))
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
    assert [who for who, _ in hung] == [kind]


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


def _answer(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, 16, 16) -> logits (N, 4)."""
    logits: torch.Tensor = images.flatten(1).unflatten(1, (4, -1)).mean(dim=2)
    return logits


class _Network(torch.nn.Module):
    """Notes at each forward when the task last beat."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.seen = folder, [0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(heartbeat.last_beat(self.folder))
        return _answer(images)


@pytest.mark.parametrize(
    ("name", "least"), [("clean", 2), ("pgd20", 20), ("cwl2", 40), ("square", 20), ("aa", 100)]
)
def test_an_attack_beats_within_its_batch(
    name: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An AutoAttack or a C&W on one batch takes as long as many epochs."""
    monkeypatch.setattr(heartbeat, "_EVERY_S", 0.0)
    attack = replace(parse_attack(name), cw_iterations=20, queries=20)
    monkeypatch.setattr(evaluation, "parse_attack", lambda name: attack)
    shorten_autoattack(monkeypatch, iterations=40, queries=20)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    data = LabelledImages(images, _answer(images).argmax(dim=1))
    model = _Network(tmp_path)
    config = TrialConfig.from_flat({
        **SMALL, "attack.eps": 0.001, "attack.norm": "l2" if name == "cwl2" else "linf",
        "evaluation.batch_size": 2 if name == "clean" else 4,
    })  # fmt: skip
    with heartbeat.beating(tmp_path):
        evaluation.correct_answers(model, MeasuredPart.of("test", data, None), name, config)
        assert heartbeat.last_beat(tmp_path) > model.seen[-1]  # after the last batch, too
    assert len(set(model.seen)) >= least


def test_a_sentinel_beats_within_its_attacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_EVERY_S", 0.0)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = _Network(tmp_path)
    with heartbeat.beating(tmp_path):
        watch(model, images, _answer(images).argmax(dim=1), eps=0.001, square_queries=20)
    most = len(model.seen)
    assert len(set(model.seen)) > 0.6 * most > 180


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
