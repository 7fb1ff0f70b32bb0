"""Finds trainings whose `config.yaml` is damaged or gone: the ledger tells what it held."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ltat_tune.config.config_file import load_config
from ltat_tune.engine.doctor.damage import (
    MEND,
    Damage,
    attempt,
    read_trials_quietly,
    set_aside,
)
from ltat_tune.engine.task_factory import every_confirmation, trial_task
from ltat_tune.errors import LtatError
from ltat_tune.preflight.finding import Finding
from ltat_tune.preflight.load import load_space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Task
from ltat_tune.storage.task_files import write_config
from ltat_tune.storage.training_files import RESULT
from ltat_tune.storage.trials import LedgerView


def lost_configurations(folder: StudyFolder) -> Iterator[Damage]:
    """Yield every trial and confirmation without its configuration."""
    for task in _tasks(folder):
        path = task.path / "config.yaml"
        begun = path.exists() or (task.path / RESULT).exists()
        if begun and attempt(partial(load_config, path)) is False:
            name = path.relative_to(folder.root.resolve())
            text = f"{name} is {'damaged' if path.exists() else 'gone'}"
            remedy = f"{MEND} writes it again from the ledger"
            yield Damage(Finding("files", "fail", text, remedy), partial(_write, task))


def _tasks(folder: StudyFolder) -> list[Task]:
    """Return the trainings of all trials and confirmations; none if they cannot be told."""
    try:
        space = load_space(folder.space, check_machine=False, allow_inert=True)
        tasks = [
            trial_task(space, folder, row.scenario, row.number, dict(row.params), device="cpu")
            for row in read_trials_quietly(folder)
        ]
        for scenario in space.scenarios:
            tasks += every_confirmation(
                space, folder, LedgerView(folder), scenario.name, device="cpu"
            )
    except LtatError:  # findings of their own
        return []
    return tasks


def _write(task: Task) -> str:
    aside = set_aside(task.path / "config.yaml")
    write_config(task, task.training_config())
    return "written again from the ledger" + (f"; {aside} is the old one" if aside else "")
