"""Measures a confirmation's weights inside a worker: a test, a part of one, or the sentinel.

A finished look leaves one file beside the weights. One that was killed goes on from the batches or
attacks in a folder there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.backend.work import ReportTo, part_reporter
from ltat_tune.storage.task import Task
from ltat_tune.storage.task_files import SENTINEL_ATTACKS, TEST_BATCHES
from ltat_tune.storage.training_files import (
    MaskingReport,
    MeasuredOnTest,
    read_test,
    write_masking,
    write_test,
)

if TYPE_CHECKING:
    from ltat_tune.evaluation.batch_files import BatchFiles
    from ltat_tune.evaluation.on_test import OnImages
    from ltat_tune.training.fit_result import FitResult
    from ltat_tune.training.trainer import Trainer


def run_test(task: Task, trainer: Trainer, result: FitResult, report: ReportTo) -> dict[str, Any]:
    """Attack the weights on the test split, and save the result of each attack."""
    from ltat_tune.evaluation.on_test import measure_on_test

    earlier = read_test(task.path)
    done = earlier if earlier is not None and earlier.part == task.test_images else MeasuredOnTest(
        state="complete", epoch=result.epoch, weights=result.weights,
        metrics={}, per_class={}, images={}, part=task.test_images,
    )  # fmt: skip

    def on_attack(measured: MeasuredOnTest) -> None:
        write_test(task.path, measured)
        report({"metrics": measured.metrics})

    batches = _batches(task.path, result)
    measured = measure_on_test(
        result.model, trainer.splits.test().to(trainer.device), trainer.config, trainer.groups,
        task.attacks, done, on_attack, on_images=_on_images(report), batches=batches,
    )  # fmt: skip
    shutil.rmtree(task.path / TEST_BATCHES, ignore_errors=True)
    return {**measured.as_data(), "lent_s": batches.lent_s}


def run_part(task: Task, trainer: Trainer, result: FitResult, report: ReportTo) -> dict[str, Any]:
    """Measure a part of the batches of a test, for the test that follows."""
    from ltat_tune.evaluation.on_test import measure_part

    measure_part(
        result.model, trainer.splits.test().to(trainer.device), trainer.config, task.attacks,
        _batches(Path(task.start_from), result), part=task.part, parts=task.parts,
        at_most=task.test_images, on_images=_on_images(report),
    )  # fmt: skip
    return {"state": "complete"}


def run_sentinel(
    task: Task, trainer: Trainer, result: FitResult, report: ReportTo
) -> dict[str, Any]:
    """Run the sentinel on a winner's weights; the verdict is that of `ltat-tune evaluate`.

    The sentinel reads the test split after the winner is chosen, and decides nothing.
    """
    from ltat_tune.evaluation.sentinel import BATCH_SIZE, watch
    from ltat_tune.models.arithmetic import computing_on
    from ltat_tune.planning.cost import MAX_IMAGES

    config = trainer.config
    test = trainer.splits.test().to(trainer.device)
    state = task.path / SENTINEL_ATTACKS
    with computing_on(trainer.device, config.compute):
        masking = watch(
            result.model,
            test.images,
            test.targets,
            split="test",
            eps=config.measured_eps,
            norm=config.measured_norm,
            step_size=config.evaluation.step_size,
            batch_size=min(config.evaluation.batch_size, BATCH_SIZE),
            max_images=min(task.test_images or MAX_IMAGES, MAX_IMAGES),
            state=state,
            # the configuration, and so the folder, fixes scale and log-prior
            weights=result.weights,
            progress=lambda attack, done, attacks: part_reporter(report, attack, attacks)(done),
        )
    write_masking(task.path, MaskingReport(**masking.to_json()))
    shutil.rmtree(state, ignore_errors=True)
    return {"state": "complete", "epoch": result.epoch}


def _batches(place: Path, result: FitResult) -> BatchFiles:
    from ltat_tune.evaluation.batch_files import BatchFiles

    return BatchFiles(place / TEST_BATCHES, weights=result.weights, precision=result.precision)


def _on_images(report: ReportTo) -> OnImages:
    return lambda attack, images: part_reporter(report, attack, images)
