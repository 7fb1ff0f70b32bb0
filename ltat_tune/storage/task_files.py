"""The files of a task's folder before and around its training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltat_tune.errors import CheckpointError
from ltat_tune.files import is_left_over, write_json
from ltat_tune.storage.task import Task

# folders of what looks have measured so far, from which a killed one goes on; deleted at its end
TEST_BATCHES, SENTINEL_ATTACKS = ".test-batches", ".sentinel"

if TYPE_CHECKING:
    from ltat_tune.config.trial_config import TrialConfig


def begin_from_stem(task: Task, stem: Path, checkpoint: Path, identity: str) -> None:
    """Copy the stem that another trial trained into the checkpoint, if it exists and is intact."""
    from ltat_tune.training.checkpoint import adopt_checkpoint

    note = task.path / "stem.json"  # first, so that no shared epoch counts as trained
    try:
        if stem.exists():
            write_json(note, {"epochs": task.stem_epochs})
            adopt_checkpoint(stem, checkpoint, identity=identity)
            return
    except CheckpointError:  # damaged: the epochs are trained again, as without a stem
        pass
    note.unlink(missing_ok=True)


def write_config(task: Task, config: TrialConfig) -> None:
    """Write the configuration of a training into its folder, unless it is there."""
    from ltat_tune.config.config_file import dump_config

    path = task.path / "config.yaml"
    if not path.exists():
        dump_config(
            path, config, comment=f"{task.key}: train it alone with `ltat-tune train {path.name}`"
        )


def remove_left_over(folder: Path) -> None:
    """Delete files that a killed process left half written."""
    for path in folder.glob(".*"):
        if is_left_over(path):
            path.unlink(missing_ok=True)
