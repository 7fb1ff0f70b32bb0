"""Answers and features of models for figures: weights from a checkpoint, attacked again.

A model is loaded when a figure needs it. Its answers are cached for the next figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.named import STEPS_IN_EPS, parse_attack
from ltat_tune.attacks.objectives import OBJECTIVES
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import MissingData
from ltat_tune.training.evaluation import EVALUATION_SEED, MeasuredPart
from ltat_tune.training.trainer import Trainer

if TYPE_CHECKING:
    from ltat_tune.config.trial_config import TrialConfig
    from ltat_tune.figures.sources import Sources
    from ltat_tune.models.classifier import Classifier
    from ltat_tune.storage.trained_run import Run


@dataclass(frozen=True)
class Trained:
    """A trained model in eval mode, with its training images and its test images."""

    model: nn.Module
    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Features:
    """Penultimate features of some images, on the CPU."""

    features: NDArray[np.float32]  # (N, D)
    targets: NDArray[np.int64]  # (N,)
    predicted: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class AttackCurve:
    """Accuracies in [0, 1] under PGD-0, PGD-1, ..., and the number of images."""

    accuracies: list[float]
    images: int


def trained(run: Run, device: str = "cpu") -> Trained:
    """Return the model that a finished training kept. Trains nothing.

    Raises:
        MissingData: there is no checkpoint, or one of a training that did not come to its end.
        CheckpointError: torn, or of other images.
        DataError: the images are not there.
    """
    if len(run.history) < run.config.optim.epochs:
        raise MissingData(f"{run.name} has a checkpoint of {len(run.history)} epochs only")
    trainer = Trainer(run.config, device=device, cache_dir=run.cache)
    model = trainer.fit(checkpoint=run.checkpoint).model.eval()
    return Trained(model, trainer.splits.train, trainer.splits.test(), trainer.splits.classes)


def _test_part(run: Run, sources: Sources) -> tuple[nn.Module, MeasuredPart]:
    """Return the model and `sources.images` test images, the same number from every class."""
    restored = trained(run, sources.device)
    return restored.model, shown_part(restored, sources)


def shown_part(restored: Trained, sources: Sources) -> MeasuredPart:
    """Return `sources.images` test images, or one of each class, on the device of the figures."""
    images = max(sources.images, len(restored.classes))
    return MeasuredPart.of("test", restored.test.to(sources.device), images)


def test_features(run: Run, sources: Sources, *, steps: int) -> Features:
    """Return features of test images under PGD; 0 steps are the clean images.

    Raises:
        MissingData, CheckpointError, DataError: as `trained`.
    """

    def compute() -> Features:
        model, part = _test_part(run, sources)
        return features_under_attack(model, part, run.config, steps=steps)

    return sources.once(("features", run.path, steps), compute)


def features_under_attack(
    model: nn.Module, part: MeasuredPart, config: TrialConfig, *, steps: int
) -> Features:
    """Return features of the adversarial images of `part`; 0 steps are the clean images.

    Radius, norm, step and start are the evaluation's.
    """
    eps, norm, step_size = evaluation_ball(config)
    attack = parse_attack(f"pgd{steps}" if steps else "clean")
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    with frozen(model, training=False):
        for images, targets, places in part.batches(config.evaluation.batch_size):
            adv_images = attack.run(
                model, images, targets, eps=eps, norm=norm, step_size=step_size,
                seed=EVALUATION_SEED, split=part.split, places=places,
            )  # fmt: skip
            with torch.no_grad():
                logits, features = cast("Classifier", model).forward_with_features(adv_images)
            kept.append((features.float().cpu(), targets.cpu(), logits.argmax(dim=1).cpu()))
    return Features(*(torch.cat(parts).numpy() for parts in zip(*kept, strict=True)))


def evaluation_ball(config: TrialConfig) -> tuple[float, str, float]:
    """Return radius, norm and step size of `evaluation`, else of the training attack."""
    eps, norm = config.measured_eps, config.measured_norm
    return eps, norm, config.evaluation.step_size or eps / STEPS_IN_EPS[norm]


def accuracy_over_steps(run: Run, sources: Sources, *, steps: int) -> AttackCurve:
    """Return accuracies under PGD-0 to PGD-`steps` from one start, shape (steps + 1,), in [0, 1].

    One attack gives the whole curve: the images after k of its steps are those of PGD-k.

    Raises:
        MissingData, CheckpointError, DataError: as `trained`.
    """

    def compute() -> AttackCurve:
        model, part = _test_part(run, sources)
        return AttackCurve(_over_steps(model, part, run.config, steps), len(part))

    return sources.once(("steps", run.path, steps), compute)


def _over_steps(
    model: nn.Module, part: MeasuredPart, config: TrialConfig, steps: int
) -> list[float]:
    eps, norm, step_size = evaluation_ball(config)
    attack = parse_attack(f"pgd{steps}")
    right: list[list[Tensor]] = []

    def noting(logits: Tensor, targets: Tensor) -> Tensor:
        right[-1].append((logits.detach().argmax(dim=1) == targets).sum())
        return OBJECTIVES["cross_entropy"](logits, targets, None).sum()

    with frozen(model, training=False):
        for images, targets, places in part.batches(config.evaluation.batch_size):
            right.append([])
            start = attack.start(
                images, places, eps=eps, norm=norm, seed=EVALUATION_SEED, split=part.split
            )
            pgd(
                model, images, targets, eps=eps, norm=norm, steps=steps + 1, step_size=step_size,
                start=start, objective=noting,
            )  # fmt: skip
    counts = torch.stack([torch.stack(batch) for batch in right]).sum(dim=0)
    return (counts.double() / len(part)).tolist()
