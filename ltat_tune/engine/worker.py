"""Runs one task inside a worker process, from its checkpoint if it has one.

The worker owns the task's folder and reports only numbers. Only the driver talks to Optuna and
MLflow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.backend.work import ReportTo
from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.engine.gpu_faults import (
    check_gpu,
    give_back_memory,
    is_out_of_memory,
)
from ltat_tune.engine.looks import run_part, run_sentinel, run_test
from ltat_tune.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    GPULost,
    ImagesChangedError,
    TrainingDiverged,
)
from ltat_tune.files import copy_file
from ltat_tune.storage.subsets import check_subset
from ltat_tune.storage.task import LOOKS, Task
from ltat_tune.storage.task_files import begin_from_stem, remove_left_over, write_config
from ltat_tune.storage.training_files import (
    BrokenTraining,
    CompleteTraining,
    SecondOpinion,
    read_complete,
    write_training,
)

if TYPE_CHECKING:
    from ltat_tune.config.trial_config import TrialConfig
    from ltat_tune.training.fit_result import FitResult
    from ltat_tune.training.trainer import Trainer

_NO_ROOM = (
    "out of GPU memory twice, the second time with up to twice the share of the GPU: lower "
    "optim.batch_size or evaluation.batch_size, or raise resources.gpus_per_trial"
)
# Not the task's fault: the study stops, and the task runs again on resume.
_OUTER = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
    errno.EMFILE, errno.ENFILE, errno.ENOTCONN, errno.ETIMEDOUT, None,
}  # fmt: skip


def run_task(task: Task, report: ReportTo) -> None:
    """Do a task, and report each epoch and one last event.

    Raises:
        GPULost: the GPU no longer answers this process, which must end. The task goes on in
            another, from its checkpoint.
    """
    import torch

    from ltat_tune.attacks.heartbeat import beating
    from ltat_tune.seeding import prepare_process

    remove_left_over(task.path)
    prepare_process(task.threads)
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()  # forget the previous task's peak
    began = time.perf_counter()
    try:
        load_plugins(task.plugins)
    except ConfigError as error:  # a plugin is missing or has changed since the study began
        report({"event": {"state": "blocked", "reason": str(error), "seconds": 0.0}})
        return
    remedy = f"make {task.path} writable or free its disk"
    try:
        with beating(task.path):
            last = (_look if task.kind in LOOKS else _train)(task, report)
    except TrainingDiverged as error:
        last = {"state": "diverged", "reason": str(error)}
    except (ImagesChangedError, CheckpointError) as error:  # whatever the configuration says
        last = {"state": "blocked", "reason": str(error)}
    except DataError as error:  # of the images, or of a configuration that asks for too many
        state = "failed" if _images_open(task) else "blocked"
        last = {"state": state, "reason": str(error)}
    except OSError as error:
        if error.errno in _OUTER or error.errno is None:
            last = {"state": "blocked", "reason": traceback.format_exc(), "remedy": remedy}
        else:
            last = {"state": "failed", "reason": traceback.format_exc()}
    except Exception as error:  # a failed trial must not end the study; MLflow shows the traceback
        full = is_out_of_memory(error)
        last = {"state": "failed", "reason": traceback.format_exc()}
        if full and not task.spacious:
            last = {"state": "out_of_memory"}
        elif full:
            last["reason"] += _NO_ROOM
        try:
            check_gpu(error)
        except GPULost as lost:
            report({"note": f"{task.title}: {lost}; its worker ends, and another goes on"})
            raise
    except BaseException as error:  # a rung or an interruption stops the task at a report
        give_back_memory(error)
        raise
    give_back_memory()
    last["seconds"] = time.perf_counter() - began
    if last["state"] in ("diverged", "failed") and task.kind not in LOOKS:
        # a failed test or sentinel leaves the training's result alone: a resume repeats it
        try:
            write_training(task.path, BrokenTraining(**last))
        except OSError:
            reason = traceback.format_exc()
            last = {**last, "state": "blocked", "reason": reason, "remedy": remedy}
    report({"event": last})


def _images_open(task: Task) -> bool:
    """Return whether all images of the task's data set can be read."""
    from ltat_tune.data.cache import prepare_cache

    try:
        prepare_cache(task.training_config().data, Path(task.cache))
    except (DataError, OSError):
        return False
    return True


def _train(task: Task, report: ReportTo) -> dict[str, Any]:
    from ltat_tune.training.checkpoint import mend_checkpoint
    from ltat_tune.training.fit_result import EpochMetrics

    config = task.training_config()
    checkpoint = task.path / "checkpoint.pt"
    write_config(task, config)
    mend_checkpoint(checkpoint, identity=config.identity)
    if not checkpoint.exists() and task.start_from:
        trained = Path(task.start_from) / "checkpoint.pt"
        if trained.exists():
            copy_file(trained, checkpoint)
            mend_checkpoint(checkpoint, identity=config.identity)
    stem = Path(task.stem) if task.stem else None
    if stem is not None and not checkpoint.exists():
        begin_from_stem(task, stem, checkpoint, config.identity)

    def on_epoch(done: EpochMetrics) -> None:
        if stem is not None and done.epoch == task.stem_epochs and not stem.exists():
            copy_file(checkpoint, stem)  # before the report, so that the driver finds the file
        report(
            {
                "epoch": done.epoch,
                "metrics": done.metrics,
                "memory": _memory(),
                "epoch_seconds": done.seconds,
                "replayed": done.replayed,
                "note": done.note,
            }
        )

    trainer = _trainer(task, config)
    result = trainer.fit(
        on_epoch,
        checkpoint=checkpoint,
        validate_at=task.validate_at,
        probe_at=task.probe_at,
        probe_epochs=task.probe_epochs,
        save_at=() if stem is None else (task.stem_epochs,),
    )
    end = CompleteTraining(
        state="complete",
        epoch=result.epoch,
        metrics=result.metrics,
        weights=result.weights,
        precision=result.precision,
        arithmetic=result.arithmetic,
        per_class=result.per_class,
        predicted=result.predicted,
        ae_distances=result.ae_distances,
        subset_hash=trainer.splits.subset_hash,
        samples_per_class=trainer.counts.tolist(),
        classes=list(trainer.splits.classes),
        image_shape=list(trainer.splits.train.images.shape[1:]),
        noise="place",
        second_opinion=_second_opinion(task, trainer, result),
    )
    write_training(task.path, end)
    if end.second_opinion is None or not end.is_doubted:
        return end.as_data()
    doubt = {"reason": end.second_opinion.reason, "claimed": end.metrics, "metrics": end.credible}
    return {**end.as_data(), **doubt}


def _second_opinion(task: Task, trainer: Trainer, result: FitResult) -> SecondOpinion | None:
    """Return the second opinion on a whole training, while its model is still here."""
    from ltat_tune.evaluation.second_opinion import second_opinion
    from ltat_tune.models.arithmetic import computing_on

    if not task.second_opinion or task.kind == "copy":
        return None
    val, images = trainer.splits.val.to(trainer.device), len(trainer.splits.train)
    with computing_on(trainer.device, trainer.config.compute):
        return second_opinion(result.model, val, result.answers, trainer.config, images)


def _trainer(task: Task, config: TrialConfig) -> Trainer:
    """Return a trainer, once its images are known to be those of all trainings like it."""
    from ltat_tune.training.trainer import Trainer

    trainer = Trainer(
        config, device=task.device, cache_dir=Path(task.cache), precision=task.precision
    )
    if task.subsets:
        check_subset(Path(task.subsets), config, trainer.splits.subset_hash)
    return trainer


def _trained(task: Task) -> tuple[Trainer, FitResult]:
    """Return a confirmation's kept weights; they are trained again if their file is damaged.

    Raises:
        CheckpointError: the file is whole, but holds other weights than `result.json` records.
    """
    from ltat_tune.config.trial_config import TrialConfig
    from ltat_tune.training.checkpoint import mend_checkpoint

    config, checkpoint = TrialConfig.from_flat(task.config), task.path / "checkpoint.pt"
    mend_checkpoint(checkpoint, identity=config.identity)
    if not checkpoint.exists():
        _train(replace(task, kind="confirmation"), lambda values: None)
    trainer = _trainer(task, config)
    result, recorded = trainer.fit(checkpoint=checkpoint), read_complete(task.path)
    if recorded is not None and recorded.weights != result.weights:
        raise CheckpointError(
            f"{checkpoint} must hold the weights {recorded.weights}, which result.json beside it "
            f"records, got {result.weights}; delete both files to train them again"
        )
    return trainer, result


def _memory() -> dict[str, float]:
    """Return this process's memory now and its peak GPU memory, in MiB, by metric name."""
    import torch

    memory: dict[str, float] = {}
    with contextlib.suppress(OSError):  # a system without /proc
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory["system/cpu_memory_mib"] = pages * os.sysconf("SC_PAGESIZE") / 2**20
    if torch.cuda.is_initialized():
        memory["system/gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return memory


def _trained_whole(task: Task) -> tuple[Trainer, FitResult] | None:
    """Return a confirmation's kept weights for a part of its test; None if they are not whole.

    Other parts read the same files at the same time, so a part mends nothing: the test does.
    """
    from ltat_tune.training.checkpoint import history_if_readable

    place = Path(task.start_from)
    checkpoint, recorded = place / "checkpoint.pt", read_complete(place)
    if recorded is None or len(history_if_readable(checkpoint)) != task.epochs:
        return None
    trainer = _trainer(task, task.training_config())
    try:
        result = trainer.fit(checkpoint=checkpoint)
    except CheckpointError:
        return None
    return (trainer, result) if result.weights == recorded.weights else None


def _look(task: Task, report: ReportTo) -> dict[str, Any]:
    """Measure the weights that a confirmation kept."""
    if task.kind == "part":
        whole = _trained_whole(task)
        return {"state": "complete"} if whole is None else run_part(task, *whole, report)
    return (run_test if task.kind == "test" else run_sentinel)(task, *_trained(task), report)
