"""The training loop of every trial, every confirmation and `ltat-tune train`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltat_tune.attacks.heartbeat import beat
from ltat_tune.attacks.shaped_replays import RecordedAttacks
from ltat_tune.config.timeline import deferral_epoch, is_validated
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import training_batches
from ltat_tune.data.datasets import Splits, load_splits
from ltat_tune.errors import TrainingDiverged
from ltat_tune.losses import class_weights
from ltat_tune.methods import build_method
from ltat_tune.methods.fairness.class_state import ClassState, recorded_sums
from ltat_tune.models import chosen_precision, prepare_model
from ltat_tune.models.arithmetic import computing_on, described
from ltat_tune.models.foreign.noise import network_noise
from ltat_tune.seeding import new_generator
from ltat_tune.training.ae_distances import AEDistances
from ltat_tune.training.checkpoint import check_images, load_checkpoint, loading, weights_hash
from ltat_tune.training.epoch_sums import EpochSums, check_finite
from ltat_tune.training.fit_result import EpochMetrics, FitResult, Kept
from ltat_tune.training.metrics import ClassGroups
from ltat_tune.training.networks import starting_network, teacher_network
from ltat_tune.training.optim import build_optimizer, clip_gradients, learning_rate, load_optimizer
from ltat_tune.training.own_loop import fit_elsewhere
from ltat_tune.training.saving import Saver
from ltat_tune.training.validator import Look, Validator
from ltat_tune.training.weight_average import decay_of, kept_mean, new_average, new_fair_average

OnEpoch = Callable[[EpochMetrics], None]


class Trainer:
    """Trains one configuration: `Trainer(config).fit(on_epoch=report)`.

    Args:
        config: the configuration to train.
        splits: the images, if they have been loaded; None loads them.
        device: the device that trains.
        cache_dir: folder of decoded data sets; None decodes the images again.
        precision: the precision that `compute.precision: auto` stands for; None asks the device.

    Raises:
        DataError: see `load_splits`.
    """

    def __init__(
        self,
        config: TrialConfig,
        *,
        splits: Splits | None = None,
        device: torch.device | str = "cpu",
        cache_dir: Path | None = None,
        precision: str | None = None,
    ) -> None:
        self.config = config
        self.splits = load_splits(config, cache_dir=cache_dir) if splits is None else splits
        self.device = torch.device(device)
        self.precision = chosen_precision(config.compute.precision, self.device, auto=precision)
        self.counts = self.splits.samples_per_class
        self.groups = ClassGroups.from_counts(self.counts.tolist())
        self._recorded = RecordedAttacks()
        self._train = self.splits.train.to(self.device)
        self._val = self.splits.val.to(self.device)

    @property
    def note(self) -> str:
        """What the user should know of how this training computes; empty if there is nothing."""
        return self._recorded.note

    @property
    def score_name(self) -> str:
        """The metric that picks the best epoch: balanced accuracy under the validation attack."""
        return f"val/{self.config.evaluation.val_attack}_balanced_acc"

    def fit(
        self,
        on_epoch: OnEpoch | None = None,
        *,
        checkpoint: Path | None = None,
        validate_at: Collection[int] = (),
        probe_at: Collection[int] = (),
        probe_epochs: int = 3,
        save_at: Collection[int] = (),
    ) -> FitResult:
        """Train to the last epoch, from `checkpoint` if it exists, and save the state there.

        Args:
            on_epoch: called with each epoch, in order. The epochs of the checkpoint come first.
                An exception that it raises ends the training.
            checkpoint: file of this training's state, which `Saver` writes; None saves no state.
            validate_at: further epochs, from 1, after which to validate. No weight depends on
                them, and none of them is kept as the best.
            probe_at: epochs, from 1, after which to run `probe`, which changes no bit of it.
            probe_epochs: length of a probe in epochs.
            save_at: further epochs, from 1, whose state is in `checkpoint` when they are reported.

        Raises:
            TrainingDiverged: the loss or a weight became non-finite.
            CheckpointError: the checkpoint is torn, or belongs to another configuration or images.
        """
        with computing_on(self.device, self.config.compute):
            self.start(checkpoint)
            try:
                with Saver(checkpoint, self.state_dict, epochs=len(self.history)) as saver:
                    self._fit(on_epoch, saver, validate_at, probe_at, probe_epochs, save_at)
            finally:
                self._recorded.release()
            return self._result()

    def _fit(
        self, on_epoch: OnEpoch | None, saver: Saver, validate_at: Collection[int],
        probe_at: Collection[int], probe_epochs: int, save_at: Collection[int],
    ) -> None:  # fmt: skip
        if self.config.trains_elsewhere:
            return fit_elsewhere(self, saver, on_epoch, validate_at)
        must = {*validate_at, *probe_at, *save_at, self.config.optim.epochs}
        for past in self.history:
            self._report(on_epoch, past, replayed=True)
        for epoch in range(len(self.history), self.config.optim.epochs):
            began = time.perf_counter()
            metrics = self._train_epoch(epoch)
            if self.distances is not None:
                self.distances.measure(self.model)
            if self.is_due(epoch + 1, validate_at):
                metrics |= self.validate_epoch(epoch + 1)
            if epoch + 1 in probe_at:
                metrics |= self.probe(probe_epochs)
            seconds = time.perf_counter() - began
            self.history.append(EpochMetrics(epoch + 1, metrics, seconds))
            saver.after_epoch(epoch + 1, must=epoch + 1 in must)
            with saver.saved_if_stopped():
                self._report(on_epoch, self.history[-1])

    def probe(self, epochs: int) -> dict[str, float]:
        """Return what the training would reach soon: `probe/...` for each `val/...` metric.

        A copy of the present state trains the last quarter of a run of 4 * epochs epochs. The
        learning rate falls as at the end of the whole run, and everything that acts late acts. The
        copy is then validated and discarded. A copy that diverges gives an empty dictionary.
        """
        config = self.config.shortened(4 * epochs).replace({"evaluation.ae_distance_images": 0})
        fork = Trainer(config, splits=self.splits, device=self.device, precision=self.precision)
        fork.start(None)
        fork._load(copy.deepcopy(self.state_dict()))
        try:
            for epoch in range(3 * epochs, 4 * epochs):
                fork._train_epoch(epoch)
            with fork._look(4 * epochs) as look:
                scores = look.found.metrics
        except TrainingDiverged:
            return {}
        return {f"probe/{name.removeprefix('val/')}": value for name, value in scores.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the training needs, as tensors and plain values."""
        fair = self.fair_average
        return {
            "identity": self.config.identity,
            "subset_hash": self.splits.subset_hash,
            "precision": self.precision,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "fair_average": fair and fair.average.state_dict(),
            "generators": {n: g.get_state() for n, g in self.generators.items()},
            "history": [[h.epoch, h.metrics, h.seconds] for h in self.history],
            "kept": vars(self.kept),
            "predicted": self.predicted,
            "classes": self.classes.state_dict(),
            **({} if self.own_state is None else {"own_state": self.own_state}),
            "distances": None if self.distances is None else self.distances.state_dict(),
        }

    def start(self, checkpoint: Path | None = None) -> None:
        """Build network, optimiser and generators, and load the state that a checkpoint has."""
        config, seed = self.config, self.config.seeds.seed
        self._recorded = RecordedAttacks.on(self.device, config.compute)  # of this model
        self._validator = Validator(
            config, self._train, self._val, self.counts, replays=self._recorded.validation
        )
        self.teacher: nn.Module | None = None  # read when the first epoch is trained
        self.model = starting_network(
            config, self._train, len(self.splits.classes), self.device, precision=self.precision,
            resumes=checkpoint is not None and checkpoint.exists(),
        )  # fmt: skip
        self.optimizer = build_optimizer(config.optim, self.model)
        self.average = new_average(self.model, decay_of(config.optim, len(self._train)))
        self.fair_average = new_fair_average(self.model, config)
        self.weights = class_weights(config.reweight, self.counts)
        self.generators = {n: new_generator(seed, n) for n in ("batches", "attack")}
        self.history: list[EpochMetrics] = []
        self.kept = Kept()
        self.predicted: list[list[int]] = []
        self.classes = ClassState()
        self.own_state: Any = None  # of a plugin's training function
        self.distances: AEDistances | None = None
        if per_class := config.evaluation.ae_distance_images:
            classes = len(self.splits.classes)
            self.distances = AEDistances(self._train, per_class, classes, config.attack)
        if checkpoint is not None and checkpoint.exists():
            state = load_checkpoint(checkpoint, identity=config.identity)
            with loading(checkpoint):
                check_images(checkpoint, state, self.splits.subset_hash)
                self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        # A training continues in the precision that it began in, even on another device.
        self.precision = state.get("precision", "fp32")
        fair = self.fair_average
        averages = [] if fair is None else [fair.average.module]
        for model in (self.model, self._kept_module(), *averages):
            prepare_model(model, self.precision, self.device)
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if fair is not None:
            fair.average.load_state_dict(state["fair_average"])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        self.history = [EpochMetrics(*past) for past in state["history"]]
        self.kept = Kept(**state["kept"])
        self.predicted, self.own_state = state["predicted"], state.get("own_state")
        self.classes = ClassState.from_state(state.get("classes"))
        if self.distances is not None:
            self.distances.load_state_dict(state["distances"])

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        config = self.config
        rate = learning_rate(config.optim, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        weights = self.weights if epoch >= deferral_epoch(config) else None
        if weights is not None:
            weights = weights.to(self.device)
        if self.teacher is None:
            self.teacher = teacher_network(
                config, self._train, len(self.splits.classes), self.device,
                precision=self.precision,
            )  # fmt: skip
        last = torch.tensor(self.predicted[-1], device=self.device) if self.predicted else None
        method = build_method(
            config, self.counts.to(self.device), epoch=epoch, predicted=last,
            classes=self.classes, teacher=self.teacher, recordings=self._recorded.training,
        )  # fmt: skip
        self.model.train()
        sums = EpochSums(len(self.splits.classes), self.device, **recorded_sums(config, epoch))
        with network_noise(config, epoch, self.device):
            for images, targets in training_batches(
                self._train,
                config.optim.batch_size,
                config=config.data,
                generator=self.generators["batches"],
            ):
                step = method.training_step(
                    self.model, images, targets,
                    class_weights=weights, generator=self.generators["attack"],
                )  # fmt: skip
                self.optimizer.zero_grad(set_to_none=True)
                step.loss.backward()
                clip_gradients(self.model, config.optim.clip_norm)
                self.optimizer.step()
                if step.after_update is not None:
                    step.after_update()
                if self.average is not None:
                    self.average.update(self.model)
                sums.add(step, targets)
                beat()
        metrics, predicted = sums.read()
        check_finite(metrics, self.model, epoch=epoch, optim=config.optim)
        self.predicted.append(predicted)
        self.classes = self.classes.after(*sums.read_classes())
        if self.fair_average is not None:
            self.fair_average.after_epoch(
                self._validator.measured(self.model), self._val, config,
                len(self.splits.classes), self._recorded.validation,
            )  # fmt: skip
        return {**metrics, "train/lr": rate}

    def validate_epoch(self, epoch: int) -> dict[str, float]:
        """Validate the weights after an epoch, and keep them if they are the best that count."""
        with self._look(epoch) as look:
            if self.is_due(epoch):
                self._keep(epoch, look.found.metrics[self.score_name], look)
        return look.found.metrics

    def is_due(self, epoch: int, also: Collection[int] = ()) -> bool:
        """Return whether an epoch, from 1, is validated."""
        return epoch in also or is_validated(self.config, epoch)

    def _kept_module(self) -> nn.Module:
        """Return the module that is validated and kept: the average, if there is one."""
        average = kept_mean(self.average, self.fair_average)
        return self.model if average is None else average

    def _look(self, epoch: int) -> AbstractContextManager[Look]:
        mean = kept_mean(self.average, self.fair_average)
        return self._validator.look(self.model, mean, epoch=epoch - 1, classes=self.classes)

    def _keep(self, epoch: int, score: float, look: Look) -> None:
        select, found = self.config.evaluation.select_epoch, look.found
        if select == "best" and score <= self.kept.score:
            return
        if select == "best_late" and score < self.kept.score:
            return
        copied = {}
        if select != "last" or (
            kept_mean(self.average, self.fair_average) is not None and self._validator.copies
        ):
            copied = {n: value.clone() for n, value in look.module.state_dict().items()}
        self.kept = Kept(epoch, score, copied, found.per_class, found.answers)

    def _report(
        self, on_epoch: OnEpoch | None, past: EpochMetrics, *, replayed: bool = False
    ) -> None:
        if on_epoch is not None:
            on_epoch(replace(past, replayed=replayed, note=self.note))

    def _result(self) -> FitResult:
        kept = self._kept_module().eval()
        if self.kept.weights:
            kept.load_state_dict(self.kept.weights)
        prepare_model(kept, "fp32", self.device)  # for attacks on the test images
        return FitResult(
            model=self._validator.measured(kept),
            epoch=self.kept.epoch,
            metrics=dict(self.history[self.kept.epoch - 1].metrics),
            weights=weights_hash(kept.state_dict()),
            precision=self.precision,
            arithmetic=described(self.device, self.precision, self.config.compute),
            per_class=self.kept.per_class,
            predicted=self.predicted,
            ae_distances=[] if self.distances is None else self.distances.by_epoch,
            answers=self.kept.answers,
            class_state=self.classes,
        )
