"""Training by what a user wrote: a function of a plugin, or a script."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import training_batches
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import LtatError
from ltat_tune.methods.trainers import TRAINERS
from ltat_tune.models import Classifier
from ltat_tune.training.epoch_sums import check_finite
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.saving import Saver
from ltat_tune.training.script.run import fit_script
from ltat_tune.training.script.weights import load_tensors, read_state_dict

if TYPE_CHECKING:
    from ltat_tune.training.trainer import Trainer

_Report = Callable[[EpochMetrics], None]
Weights = nn.Module | Mapping[str, Tensor] | Path


class OwnTraining:
    """What the training function of a plugin gets.

    Attributes:
        config: the configuration; its parameters mean what the function makes of them.
        seed: `seeds.seed`.
        folder: a folder of this training alone; what is in it is deleted with the trial.
        device: where `model` and `images` are.
        model: the network of `model.*`, images in [0, 1] to logits, in its start.
        images: the training images, uint8, with their targets.
        samples_per_class: training images by class, shape (K,).
        epochs: the epochs to train, from 1; after an interruption those that are left.
        state: what was last handed to `report` as `state`; None at the start.
    """

    def __init__(
        self, trainer: Trainer, saver: Saver, folder: Path, report: _Report, also: Collection[int]
    ) -> None:
        self._trainer, self._saver, self._report, self._also = trainer, saver, report, also
        self._stopped: BaseException | None = None
        self._began = time.perf_counter()
        self.config: TrialConfig = trainer.config
        self.seed = trainer.config.seeds.seed
        self.folder = folder
        self.device: torch.device = trainer.device
        self.model: Classifier = trainer.model
        self.images: LabelledImages = trainer.splits.train.to(trainer.device)
        self.samples_per_class: Tensor = trainer.counts
        self.epochs = range(len(trainer.history) + 1, trainer.config.optim.epochs + 1)
        self.state: Any = trainer.own_state

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of images in [0, 1] (B, C, H, W) and targets (B,).

        They are shuffled, sampled and augmented as `data.*` and `optim.batch_size` say.
        """
        return training_batches(
            self.images, self.config.optim.batch_size, config=self.config.data,
            generator=self._trainer.generators["batches"],
        )  # fmt: skip

    def report(
        self,
        epoch: int,
        metrics: Mapping[str, float],
        *,
        weights: Weights | None = None,
        state: Any = None,
    ) -> None:
        """End an epoch: its weights are validated and saved. A stopped trial ends in this call.

        Args:
            epoch: from 1; each in its turn.
            metrics: numbers of the epoch; `loss` is shown as `train/loss`.
            weights: a network, a state_dict or a file with the layers of `model`; None is `model`.
            state: tensors and plain values from which the function can continue, such as the
                optimiser's state_dict. Without it, an interrupted training begins again.

        Raises:
            TrainingDiverged: a number or a weight is not finite.
            CheckpointError: the weights are of another network.
        """
        trainer, last = self._trainer, self.epochs.stop - 1
        if self._stopped is not None:
            raise self._stopped  # whatever the function caught
        if epoch != len(trainer.history) + 1 or epoch > last:
            raise LtatError(
                f"report must be called once after each epoch, from {len(trainer.history) + 1} to "
                f"{last}, got epoch {epoch}"
            )
        if weights is not None:
            load_tensors(trainer.model, _tensors(weights), f"the weights of epoch {epoch}")
        numbers = {f"train/{name}": float(value) for name, value in metrics.items()}
        check_finite(numbers, trainer.model, epoch=epoch - 1, optim=trainer.config.optim)
        if trainer.is_due(epoch, self._also):
            numbers |= trainer.validate_epoch(epoch)
        trainer.own_state = state
        seconds, self._began = time.perf_counter() - self._began, time.perf_counter()
        trainer.history.append(EpochMetrics(epoch, numbers, seconds))
        self._saver.after_epoch(epoch, must=epoch == last or epoch in self._also)
        try:
            with self._saver.saved_if_stopped():
                self._report(trainer.history[-1])
        except BaseException as error:
            self._stopped = error
            raise


def _tensors(weights: Weights) -> Mapping[str, Tensor]:
    if isinstance(weights, nn.Module):
        return weights.state_dict()
    return read_state_dict(weights) if isinstance(weights, Path) else weights


def fit_elsewhere(
    trainer: Trainer, saver: Saver, on_epoch: _Report | None, validate_at: Collection[int]
) -> None:
    """Train by the script or the training function to the last epoch.

    Args:
        trainer: a trainer that has been started: it holds the network and measures it.
        saver: writes the checkpoint.
        on_epoch: called with each epoch, those of earlier starts first.
        validate_at: epochs, from 1, after which to validate besides those of the configuration.

    Raises:
        LtatError: the training ends too early, or its weights cannot be read.
    """
    trainer.average = None  # of weights that are not trained here
    if trainer.config.script.definition is not None:
        return fit_script(trainer, saver, on_epoch, validate_at)
    train, history = TRAINERS[trainer.config.method.name](trainer.config), trainer.history
    last = trainer.config.optim.epochs
    if len(history) < last and trainer.own_state is None:
        trainer.start()
        trainer.average = None
    for past in trainer.history:
        if on_epoch is not None:
            on_epoch(replace(past, replayed=True))
    if len(trainer.history) >= last:
        return None
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if saver.folder is None else (
            saver.folder / "own"
        )  # fmt: skip
        place = Path(folder)
        place.mkdir(exist_ok=True)
        run = OwnTraining(trainer, saver, place, on_epoch or (lambda done: None), validate_at)
        train(run)
        with contextlib.suppress(OSError):
            place.rmdir()  # unless the function keeps something in it
        if run._stopped is not None:
            raise run._stopped
    if len(trainer.history) < last:
        raise LtatError(
            f"method.name {trainer.config.method.name} must report {last} epochs, and its "
            f"function ended after {len(trainer.history)}"
        )
    return None
