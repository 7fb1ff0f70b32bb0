"""One Tuner over the ledger: each start builds it anew for what is left (PLATFORM section 0)."""

from __future__ import annotations

import shutil
from typing import Any

from ray import tune

from ltat_tune.study.folder import StudyFolder, read_json
from ltat_tune.study.ledger import Ledger, score_of, state_of
from ltat_tune.study.live import LiveView
from ltat_tune.study.mlflow_observer import MlflowObserver
from ltat_tune.study.plan import candidates, confirmation, is_tested, trial_task
from ltat_tune.study.queue import WorkQueue
from ltat_tune.study.ray_session import stop_signals
from ltat_tune.study.rungs import place_rungs
from ltat_tune.study.scheduler import Asha
from ltat_tune.study.space import Space
from ltat_tune.study.tasks import Outcome, Task
from ltat_tune.study.worker import run_task
from ltat_tune.tracking import Tracker

_WORKER_RETRIES = 3


class _StopWhenAsked(tune.Stopper):
    """Ends Tune's loop once the queue has a reason to stop."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._queue.stop_reason is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}


def drive(
    space: Space, folder: StudyFolder, tracker: Tracker, view: LiveView, *, slots: int
) -> tuple[WorkQueue, bool]:
    """Runs every task that is left. Returns the queue, and whether a signal ended it early."""
    rungs = place_rungs(space)
    device = "cuda" if space.resources.gpus_per_trial > 0 else "cpu"
    ledger = Ledger(folder.ledger, space)
    names = tuple(scenario.name for scenario in space.scenarios)
    asha = Asha(space.objective.metric, rungs, space.scheduler, names)
    observer = MlflowObserver(tracker, space)
    queue = WorkQueue(
        space, folder, ledger, asha,
        slots=slots, device=device, rungs=rungs, observers=(view, observer),
    )  # fmt: skip
    _catch_up(space, folder, ledger, observer, view)
    signals: list[str] = []

    def on_stop(name: str) -> None:
        signals.append(name)
        queue.stop(f"stopped by {name}")

    resources = {"cpu": space.resources.cpus_per_trial, "gpu": space.resources.gpus_per_trial}
    shutil.rmtree(folder.ray, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(run_task, resources),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            scheduler=asha,
            num_samples=1_000_000,  # the queue says when there is no more
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.ray.resolve()),
            verbose=0,
            stop=_StopWhenAsked(queue),
            failure_config=tune.FailureConfig(max_failures=_WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        with stop_signals(on_stop):
            tuner.fit()
    finally:
        shutil.rmtree(folder.ray, ignore_errors=True)
    return queue, bool(signals)


def _catch_up(
    space: Space, folder: StudyFolder, ledger: Ledger, observer: MlflowObserver, view: LiveView
) -> None:
    """Shows what earlier starts finished, and mends MLflow runs that they left behind."""
    for scenario in space.scenarios:
        for row in ledger.finished(scenario.name):
            task = trial_task(space, folder, scenario.name, row.number, row.params, device="cpu")
            state, epochs = state_of(row), int(row.user_attrs.get("epochs", 0))
            view.restore(scenario.name, state, epochs, score_of(row), f"t{row.number:04d}")
            outcome = Outcome(state, epochs, str(row.user_attrs.get("reason", "")))  # type: ignore[arg-type]
            observer.repair(task, outcome)
        if not ledger.is_searched(scenario.name) or ledger.unfinished(scenario.name):
            continue
        for candidate in candidates(space, ledger, scenario.name):
            for seed in space.confirm.seeds:
                task = confirmation(space, folder, scenario.name, candidate, seed, device="cpu")
                _catch_up_confirmation(space, task, observer)


def _catch_up_confirmation(space: Space, task: Task, observer: MlflowObserver) -> None:
    trained, measured = read_json(task.path / "result.json"), read_json(task.path / "test.json")
    if trained is None:
        return
    outcome = Outcome(trained["state"], trained.get("epoch", 0), trained.get("reason", ""),
                      None, trained.get("seconds", 0.0))  # fmt: skip
    if measured and is_tested(space, task):
        observer.repair(Task(**{**vars(task), "key": f"{task.key}/test", "kind": "test"}), outcome)
    elif outcome.state != "complete":
        observer.repair(task, outcome)
    else:
        observer.replay(task)  # trained, still to be tested: the test's run must have its epochs
