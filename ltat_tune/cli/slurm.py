"""Slurm: a study's confirmations as the tasks of one job array."""

from __future__ import annotations

import shlex
from pathlib import Path

from ltat_tune.errors import StudyError


def write_array(root: Path) -> tuple[Path, int]:
    """Write a job script whose tasks train the confirmations that a study has left.

    Each task trains one configuration with one seed into its own folder of the study, so that a
    resume of the study finds it trained, and only tests it.

    Returns:
        The script, and the number of its tasks.

    Raises:
        StudyError: there is no study, it is running, its search has not ended, or nothing is left.
    """
    from ltat_tune.engine.task_factory import confirmation_tasks
    from ltat_tune.space.reader import read_space
    from ltat_tune.storage.folder import StudyFolder
    from ltat_tune.storage.ledger import Ledger
    from ltat_tune.storage.task_files import write_config

    folder = StudyFolder.open(root)
    if folder.is_running():
        raise StudyError(f"{root.name} is running; wait for its end, or stop it first")
    space = read_space(folder.space)
    ledger = Ledger(folder.ledger, space)
    open_searches = [s.title for s in space.scenarios if not ledger.is_searched(s.name)]
    if open_searches:
        raise StudyError(
            f"the search must have ended before its winners are confirmed, but {open_searches[0]} "
            f"goes on; run `{folder.resume_command}` first"
        )
    resources = space.resources
    device = "cuda" if resources.gpus_per_trial > 0 else "cpu"
    tasks = [
        task for scenario in space.scenarios
        for task in confirmation_tasks(space, folder, ledger, scenario.name, device=device)
    ]  # fmt: skip
    if not tasks:
        raise StudyError(f"{root.name} has no confirmation left to train")
    for task in tasks:
        task.path.mkdir(parents=True, exist_ok=True)
        write_config(task, task.training_config())
    gpu = ["#SBATCH --gres=gpu:1"] if device == "cuda" else []
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={space.name}",
        f"#SBATCH --array=0-{len(tasks) - 1}",
        f"#SBATCH --cpus-per-task={resources.cpus_per_trial}",
        *gpu,
        f"#SBATCH --output={folder.root.resolve()}/slurm-%A_%a.log",
        f"# Trains the confirmations of {space.name}. Afterwards: {folder.resume_command}",
        "folders=(",
        *(f"  {shlex.quote(str(task.path))}" for task in tasks),
        ")",
        'folder="${folders[$SLURM_ARRAY_TASK_ID]}"',
        f'exec ltat-tune train "$folder/config.yaml" --checkpoint "$folder/checkpoint.pt" '
        f"--device {device} --threads {resources.cpus_per_trial} --quiet",
    ]
    script = folder.root / "confirmations.slurm"
    script.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return script, len(tasks)
