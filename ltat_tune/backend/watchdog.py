"""Kills the worker of a training that hangs; Ray then starts it again from its checkpoint."""

from __future__ import annotations

import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from ltat_tune.attacks.heartbeat import last_beat
from ltat_tune.backend.ray_internals import actor_of
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.storage.task import LOOKS, Task

_REMEMBERED = 101  # epochs in the median


@dataclass
class _Watched:
    """A task in a slot."""

    heard: float  # time.monotonic() of its start, its last report, or its last batch or step
    folder: Path
    beat: int = 0  # time of its heartbeat's file
    is_silent: bool = False  # a look that still loads the model and the images
    slowest_s: float = 0.0  # its own longest epoch so far


class Watchdog(tune.Callback):
    """Watches how long ago each task reported, or finished a batch or a step of an attack.

    A task may be silent for `hang_factor` times the median epoch of the study or its own
    longest epoch, whichever is longer, and for `hang_floor_s` at least. Before the study's first
    epoch, and before the first step of a test or a sentinel, both are multiplied by `hang_factor`
    once more.

    Args:
        resources: `hang_factor` and `hang_floor_s`.
        on_hang: called with Ray's trial id and a description, before the worker is killed.
    """

    def __init__(self, resources: ResourcesSpec, on_hang: Callable[[str, str], None]) -> None:
        self._factor, self._floor_s = resources.hang_factor, resources.hang_floor_s
        self._on_hang = on_hang
        self._watched: dict[str, _Watched] = {}
        self._actors: dict[str, Any] = {}
        self._epochs: deque[float] = deque(maxlen=_REMEMBERED)  # seconds
        self._median_s = 0.0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Watch a training that a worker starts, perhaps for a second time."""
        task = Task.from_json(trial.config["task"])
        is_silent = task.kind in LOOKS
        self._watched[trial.trial_id] = _Watched(
            time.monotonic(), task.path, last_beat(task.path), is_silent
        )
        self._actors[trial.trial_id] = actor_of(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note an epoch, replayed or not: both show how long one takes."""
        watched = self._watched.get(trial.trial_id)
        if watched is None:
            return
        watched.heard, watched.is_silent = time.monotonic(), False
        if "epoch_seconds" not in result:
            return
        seconds = float(json.loads(result["epoch_seconds"]))
        watched.slowest_s = max(watched.slowest_s, seconds)
        self._epochs.append(seconds)
        self._median_s = statistics.median(self._epochs)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **i: Any) -> None:
        """Forget a training that ended."""
        self._forget(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **i: Any) -> None:
        """Forget a training whose worker died too often."""
        self._forget(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **i: Any) -> None:
        """Forget a training that waits for another worker."""
        self._forget(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Kill workers of trainings that are silent too long; called several times a second."""
        now = time.monotonic()
        for trial_id, watched in list(self._watched.items()):
            if (beat := last_beat(watched.folder)) != watched.beat:  # it goes on
                watched.beat, watched.heard, watched.is_silent = beat, now, False
            usual_s = max(self._median_s, watched.slowest_s)
            allowed_s = max(self._floor_s, self._factor * usual_s)
            if watched.is_silent or not self._epochs:
                allowed_s *= self._factor
            if now - watched.heard > allowed_s:
                actor = self._actors[trial_id]
                self._forget(trial_id)
                self._on_hang(
                    trial_id,
                    f"it reported nothing for {now - watched.heard:.0f} s, where "
                    + (f"an epoch takes {usual_s:.1f} s" if usual_s else "none has ended yet"),
                )
                ray.kill(actor)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks for a restore that this study never makes

    def _forget(self, trial_id: str) -> None:
        self._watched.pop(trial_id, None)
        self._actors.pop(trial_id, None)
