"""Rebuilds the view and repairs the MLflow runs that earlier starts left unfinished."""

from __future__ import annotations

from ltat_tune.engine.observers.live_view import LiveView
from ltat_tune.engine.observers.mlflow_observer import MlflowObserver
from ltat_tune.engine.task_factory import every_confirmation, test_of, trial_task
from ltat_tune.results.selection import is_tested
from ltat_tune.search.predict.observed import is_doubted
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.training_files import SENTINEL, BrokenTraining, read_training
from ltat_tune.storage.trial_state import score_of, state_of


def catch_up(
    space: Space, folder: StudyFolder, ledger: Ledger, observer: MlflowObserver, view: LiveView
) -> None:
    """Show what earlier starts finished, and repair MLflow runs that they left unfinished."""
    for scenario in space.scenarios:
        for row in ledger.finished(scenario.name):
            task = trial_task(space, folder, scenario.name, row.number, row.params, device="cpu")
            state, epochs = state_of(row), int(row.user_attrs.get("epochs", 0))
            score = None if is_doubted(row) else score_of(row)
            view.restore(task, state, epochs, score)
            outcome = Outcome(state, epochs, str(row.user_attrs.get("reason", "")))  # type: ignore[arg-type]
            observer.repair(task, outcome)
        if not ledger.is_searched(scenario.name) or ledger.unfinished(scenario.name):
            continue
        for task in every_confirmation(space, folder, ledger, scenario.name, device="cpu"):
            _catch_up_confirmation(space, task, observer, view)


def _catch_up_confirmation(
    space: Space, task: Task, observer: MlflowObserver, view: LiveView
) -> None:
    end = read_training(task.path)
    if end is None:
        return
    done = {"confirmation": True, "test": is_tested(space, task.path),
            "sentinel": (task.path / SENTINEL).exists()}  # fmt: skip
    for kind in filter(done.__getitem__, done):
        view.restore_look(task, kind)
    if isinstance(end, BrokenTraining):
        outcome = Outcome(end.state, 0, end.reason, None, end.seconds)
    else:
        outcome = Outcome(end.state, end.epoch)
    if done["test"]:
        observer.repair(test_of(task, space), outcome)
    elif outcome.state != "complete":
        observer.repair(task, outcome)
    else:
        observer.replay(task)  # the test comes next and needs the run's epochs
