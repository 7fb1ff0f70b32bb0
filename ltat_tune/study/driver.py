"""One Tuner over the ledger: each start builds it anew for what is left (PLATFORM section 0)."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ray import tune

from ltat_tune.study.folder import StudyFolder, read_json
from ltat_tune.study.ledger import Ledger, score_of, state_of
from ltat_tune.study.live import LiveView
from ltat_tune.study.mlflow_observer import MlflowObserver
from ltat_tune.study.plan import candidates, confirmation, is_tested, trial_task
from ltat_tune.study.queue import WorkQueue
from ltat_tune.study.ray_session import stop_signals, workers_as_they_are
from ltat_tune.study.rungs import place_rungs
from ltat_tune.study.scheduler import Asha
from ltat_tune.study.space import Space
from ltat_tune.study.tasks import Outcome, Task
from ltat_tune.study.watchdog import Watchdog
from ltat_tune.study.worker import run_task
from ltat_tune.tracking import Tracker

if TYPE_CHECKING:
    from ltat_tune.study.cluster import Cluster

_WORKER_RETRIES = 3
_LEAVE_S = 20.0  # Tune takes up to 15 s to end workers; Slurm and Kubernetes kill after 30


class _EachTurn(tune.Stopper):
    """What Tune's loop asks at each turn: to end it, once the queue has a reason to stop.

    On a cluster it also keeps the queue's slots in step with the nodes.
    """

    def __init__(self, queue: WorkQueue, cluster: Cluster | None, view: LiveView) -> None:
        self._queue, self._cluster, self._view = queue, cluster, view

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._cluster is not None:
            slots = self._cluster.slots()
            self._queue.resize(slots, self._cluster.largest())
            while self._cluster.news:
                self._view.resize(slots)
                self._view.on_note(self._cluster.news.pop(0))
            if self._cluster.problem:
                self._queue.stop(self._cluster.problem)
        return self._queue.stop_reason is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}


def drive(
    space: Space,
    folder: StudyFolder,
    tracker: Tracker,
    view: LiveView,
    *,
    slots: int,
    cluster: Cluster | None = None,
    owns_process: bool = True,
) -> tuple[WorkQueue, bool]:
    """Runs every task that is left. Returns the queue, and whether a signal ended it early.

    Where it does not own its process, a Ray that never answers a signal does not end that.
    """
    rungs = place_rungs(space)
    device = "cuda" if space.resources.gpus_per_trial > 0 else "cpu"
    ledger = Ledger(folder.ledger, space)
    names = tuple(scenario.name for scenario in space.scenarios)
    asha = Asha(space.objective.metric, rungs, space.scheduler, names)
    observer = MlflowObserver(tracker, space)
    queue = WorkQueue(
        space, folder, ledger, asha,
        slots=slots, device=device, rungs=rungs, observers=(view, observer), cluster=cluster,
    )  # fmt: skip
    if cluster is not None:
        queue.resize(slots, cluster.largest())
    _catch_up(space, folder, ledger, observer, view)
    signals: list[str] = []

    def leave() -> None:
        """Whoever stops a whole job signals Ray's processes too, and Tune waits for dead ones."""
        view.say(f"stopped by {signals[0]}; Ray does not answer any more")
        tracker.finish("interrupted")
        view.say(f"resume with: {folder.resume_command}")
        os._exit(130)

    late = threading.Timer(_LEAVE_S, leave)
    late.daemon = True

    def on_stop(name: str) -> None:
        signals.append(name)
        queue.stop(f"stopped by {name}")
        if owns_process:
            late.start()

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        # Ray calls a pickled copy of this, which knows the queue as it was at the start only
        spec, share = space.resources, config["slots"]
        # a training uses one GPU, so more than a whole one is room for nothing
        gpus = max(spec.gpus_per_trial, min(1.0, share * spec.gpus_per_trial))
        return tune.PlacementGroupFactory([{"CPU": share * spec.cpus_per_trial, "GPU": gpus}])

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
            progress_reporter=tune.CLIReporter(),  # silent; a notebook's would clear the cell
            callbacks=[Watchdog(space.resources, queue.on_hang)],
            stop=_EachTurn(queue, cluster, view),
            failure_config=tune.FailureConfig(max_failures=_WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        with stop_signals(on_stop), nullcontext() if cluster else workers_as_they_are(slots):
            tuner.fit()
    except Exception as error:
        # whoever stops a whole job signals Ray's processes too, and Tune misses them
        if not signals:
            raise
        view.say(f"stopped by {signals[0]}; Ray was stopped too ({type(error).__name__})")
    finally:
        late.cancel()
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
