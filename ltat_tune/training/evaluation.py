"""Measuring a model: clean, PGD or AutoAttack accuracy on one split."""

from __future__ import annotations

import re

import torch

from ltat_tune.attacks import autoattack, pgd
from ltat_tune.config import TrialConfig
from ltat_tune.data.batches import evaluation_batches, to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import ConfigError
from ltat_tune.models import Classifier
from ltat_tune.training.metrics import Accuracy
from ltat_tune.training.seeding import new_generator

# All models of a study meet the same attack noise, whatever their own seeds are.
_EVALUATION_SEED = 0
_PGD = re.compile(r"pgd([1-9]\d*)")


def is_attack(name: str) -> bool:
    """Whether `name` is clean, pgd<steps> or aa."""
    return name in ("clean", "aa") or _PGD.fullmatch(name) is not None


def measured_part(data: LabelledImages, attack: str, config: TrialConfig) -> LabelledImages:
    """The images that an attack is run on: all, or AutoAttack's seeded, class-balanced part."""
    if attack != "aa":
        return data
    return data.class_balanced_part(config.evaluation.aa_images, seed=_EVALUATION_SEED)


def evaluate(
    model: Classifier, data: LabelledImages, attack: str, config: TrialConfig, *, classes: int
) -> Accuracy:
    """Right answers by class under one attack, in eval mode; the model is left as found.

    L-inf, radius `evaluation.eps` (else `attack.eps`). pgd<steps>: cross-entropy objective, step
    eps/4 (2/255 at 8/255, REAT's evaluation), uniform start clipped to [0, 1]. aa: AutoAttack
    standard on `measured_part`.

    Raises:
        ConfigError: an attack that does not exist.
    """
    if not is_attack(attack):
        raise ConfigError(f"unknown attack {attack!r}; choose from: clean, pgd<steps>, aa")
    eps = config.attack.eps if config.evaluation.eps is None else config.evaluation.eps
    part = measured_part(data, attack, config)
    size = config.evaluation.batch_size
    generator = new_generator(_EVALUATION_SEED, attack)
    if attack == "aa":
        images = autoattack(
            model,
            to_unit(part.images),
            part.targets,
            eps=eps,
            seed=_EVALUATION_SEED,
            batch_size=size,
        )
        part = LabelledImages(images, part.targets)
    was_training = model.training
    model.eval()
    correct = []
    for images, targets in evaluation_batches(part, size):
        if match := _PGD.fullmatch(attack):
            images = pgd(
                model, images, targets, eps=eps, step_size=eps / 4, steps=int(match.group(1)),
                start="uniform_clipped", generator=generator,
            )  # fmt: skip
        with torch.no_grad():
            correct.append(model(images).argmax(dim=1) == targets)
    model.train(was_training)
    return Accuracy.count(torch.cat(correct), part.targets, classes)
