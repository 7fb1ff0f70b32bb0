"""Runs a study's tasks on Ray Tune: each start builds one Tuner for the tasks that are left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ray import tune

from ltat_tune.backend.local.last_words import last_words
from ltat_tune.backend.ray_scheduler import StoppingScheduler
from ltat_tune.backend.ray_searcher import BundledReports, QueueSearcher
from ltat_tune.backend.ray_session import workers_as_they_are
from ltat_tune.backend.watchdog import Watchdog
from ltat_tune.backend.work import RunTask, Work
from ltat_tune.errors import GPULost
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.storage.task import Task

_WORKER_RETRIES = 3


class _EachTurn(tune.Stopper):
    """Tells Tune's loop at each turn whether to end: once the work has a reason to stop."""

    def __init__(self, work: Work, each_turn: Callable[[], None]) -> None:
        self._work, self._each_turn = work, each_turn

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self._each_turn()
        return self._work.stop_reason is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}


def run_in_ray(
    work: Work,
    run_task: RunTask,
    stopping: EarlyStopping,
    *,
    metric: str,
    spec: ResourcesSpec,
    scratch: Path,
    slots: int,
    own_ray: bool,
    each_turn: Callable[[], None],
) -> None:
    """Run all tasks in Ray workers, until there are no more or the work is to stop.

    Args:
        work: hands tasks out and takes reports.
        run_task: does one task; a function of a module, which the workers import.
        stopping: ends search trials at rungs.
        metric: the objective's name.
        spec: what a task takes of the machine.
        scratch: folder for Ray's own bookkeeping, which is deleted afterwards.
        slots: tasks at once.
        own_ray: whether this process started Ray, for this study only.
        each_turn: called several times a second.
    """

    judged = stopping.judged

    def trainable(config: dict[str, Any]) -> None:
        from ltat_tune.attacks.replays import recording_broke

        task = Task.from_json(config["task"])
        if recording_broke():  # in the task before
            os._exit(1)  # Ray gives the task to a new process
        try:
            with last_words(task.path):
                run_task(task, BundledReports(tune.report, judged))
        except GPULost:
            os._exit(1)

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        # Ray calls a pickled copy, which knows only the state of the work at the start
        share = config["slots"]
        # a training uses one GPU, so more than a whole one would be wasted
        gpus = max(spec.gpus_per_trial, min(1.0, share * spec.gpus_per_trial))
        return tune.PlacementGroupFactory([{"CPU": share * spec.cpus_per_trial, "GPU": gpus}])

    shutil.rmtree(scratch, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=QueueSearcher(work, metric),
            scheduler=StoppingScheduler(stopping),
            num_samples=1_000_000,  # the work ends the search
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch.resolve()),
            verbose=0,
            progress_reporter=tune.CLIReporter(),  # silent; a notebook's would clear the cell
            callbacks=[Watchdog(spec, work.on_hang)],
            stop=_EachTurn(work, each_turn),
            failure_config=tune.FailureConfig(max_failures=_WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        with workers_as_they_are(slots) if own_ray else nullcontext():
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
