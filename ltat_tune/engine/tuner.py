"""Runs the remaining tasks of a study on a backend, to their end or to an interruption."""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from ltat_tune.backend.in_process import run_in_process
from ltat_tune.backend.local.ray_watch import watched_ray
from ltat_tune.backend.ray_session import abandon_ray
from ltat_tune.backend.stop_signals import stop_signals
from ltat_tune.backend.work import RunTask
from ltat_tune.engine.observers.live_view import LiveView
from ltat_tune.engine.observers.mirrors import mirrors_of
from ltat_tune.engine.observers.mlflow_observer import MlflowObserver
from ltat_tune.engine.observers.observer import Observer
from ltat_tune.engine.precision import study_precision
from ltat_tune.engine.recovery import catch_up
from ltat_tune.engine.work_queue import WorkQueue
from ltat_tune.engine.worker import run_task
from ltat_tune.search.rungs import place_rungs
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.tracking import Tracker

if TYPE_CHECKING:
    from ltat_tune.backend.cluster import Cluster

_LEAVE_S = 20.0  # Tune takes up to 15 s to end workers; Slurm and Kubernetes kill after 30


def drive(
    space: Space,
    folder: StudyFolder,
    tracker: Tracker,
    view: LiveView,
    *,
    slots: int,
    cluster: Cluster | None = None,
    owns_process: bool = True,
    in_process: bool = False,
    do_task: RunTask = run_task,
) -> tuple[WorkQueue, bool]:
    """Run every remaining task.

    Args:
        space: the study's space.
        folder: the study's folder.
        tracker: writes every event to MLflow.
        view: shows the progress.
        slots: how many tasks run at once.
        cluster: the cluster whose nodes train; None is this machine.
        owns_process: a signal that Ray does not answer in time may end the process.
        in_process: run tasks here, one after another, without Ray.
        do_task: does one task in a worker.

    Returns:
        The queue, and whether a signal ended it early.
    """
    rungs = place_rungs(space)
    device = "cuda" if space.resources.gpus_per_trial > 0 else "cpu"
    ledger = Ledger(folder.ledger, space)
    names = tuple(scenario.name for scenario in space.scenarios)
    stopping = EarlyStopping(space.objective.metric, rungs, space.scheduler, names)
    view.follow(stopping.standings)
    observer = MlflowObserver(tracker, space)
    observers: list[Observer] = [view, observer, *mirrors_of(space, folder)]
    precision, notes = study_precision(space, folder, cluster)
    for note in notes:
        view.on_note(note)
    queue = WorkQueue(
        space, folder, ledger, stopping,
        slots=slots, device=device, rungs=rungs, observers=observers, cluster=cluster,
        precision=precision,
    )  # fmt: skip
    if cluster is not None:
        queue.resize(slots, cluster.largest())
    catch_up(space, folder, ledger, observer, view)
    signals: list[str] = []

    deaths: list[str] = []

    def leave(what: str, status: int) -> None:
        """End the process: Tune waits for ever for processes of Ray that were killed."""
        view.say(what)
        tracker.finish("interrupted", hurry=True)
        view.say(f"resume with: {folder.resume_command}")
        abandon_ray()
        os._exit(status)

    def leave_late() -> None:
        leave(f"stopped by {signals[0]}; Ray no longer answers", 130)

    def on_death(what: str) -> None:
        deaths.append(what)
        queue.stop(what)
        if signals:
            return  # stopping a whole job also signals Ray's processes
        if owns_process:
            leave(what, 1)
        _thread.interrupt_main()

    late = threading.Timer(_LEAVE_S, leave_late)
    late.daemon = True

    def on_stop(name: str) -> None:
        signals.append(name)
        queue.stop(f"stopped by {name}")
        view.stop()
        if owns_process and not in_process:
            late.start()

    def each_turn() -> None:
        """Keep the queue's slots in step with the nodes of the cluster."""
        if cluster is None:
            return
        now = cluster.slots()
        queue.resize(now, cluster.largest())
        while cluster.news:
            view.resize(now)
            view.on_note(cluster.news.pop(0))
        if cluster.problem:
            queue.stop(cluster.problem)

    try:
        with stop_signals(on_stop):
            if in_process:
                run_in_process(queue, do_task, stopping)
            else:
                from ltat_tune.backend.ray_tuner import run_in_ray  # imports Ray

                own = cluster is None
                with watched_ray(on_death) if own else contextlib.nullcontext():
                    run_in_ray(
                        queue, do_task, stopping, metric=space.objective.metric,
                        spec=space.resources, scratch=folder.ray, slots=slots,
                        own_ray=own, each_turn=each_turn,
                    )  # fmt: skip
    except KeyboardInterrupt:
        if not deaths:
            raise
    except Exception as error:
        if deaths and not signals:
            return queue, False
        # stopping a whole job also signals Ray's processes, and Tune fails without them
        if not signals or in_process:
            raise
        view.say(f"stopped by {signals[0]}; Ray was stopped too ({type(error).__name__})")
    finally:
        late.cancel()
    return queue, bool(signals)
