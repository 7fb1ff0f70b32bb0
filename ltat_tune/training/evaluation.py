"""Measuring a model: clean, PGD, C&W-margin or AutoAttack accuracy on one split."""

from __future__ import annotations

import re

import torch
from torch import nn

from ltat_tune.attack_names import WRITTEN, is_attack
from ltat_tune.attacks import autoattack, pgd
from ltat_tune.attacks.frozen import frozen
from ltat_tune.config import TrialConfig
from ltat_tune.data.batches import evaluation_batches, to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import ConfigError
from ltat_tune.training.metrics import Accuracy
from ltat_tune.training.seeding import new_generator

# All models of a study meet the same attack noise, whatever their own seeds are.
_EVALUATION_SEED = 0
_ITERATED = re.compile(r"(pgd|cw)([1-9]\d*)")
_OBJECTIVES = {"pgd": "cross_entropy", "cw": "margin"}
# 2/255 at 8/255 and 0.2 at 1.0: REAT's evaluations
_STEPS_IN_EPS = {"linf": 4, "l2": 5}
_AA_NORMS = {"linf": "Linf", "l2": "L2"}


def measured_part(data: LabelledImages, attack: str, config: TrialConfig) -> LabelledImages:
    """The images that an attack is run on: all, or AutoAttack's seeded, class-balanced part."""
    if attack != "aa":
        return data
    return data.class_balanced_part(config.evaluation.aa_images, seed=_EVALUATION_SEED)


def evaluate(
    model: nn.Module, data: LabelledImages, attack: str, config: TrialConfig, *, classes: int
) -> Accuracy:
    """Right answers by class under one attack, in eval mode; the model is left as found.

    Norm, radius and step are those of `evaluation`, else of the training attack; the step is a
    quarter of the radius in L-inf and a fifth in L2. pgd<steps> raises cross-entropy, cw<steps>
    the margin of Carlini and Wagner, from a uniform start clipped to [0, 1]. aa: AutoAttack
    standard on `measured_part`.

    Raises:
        ConfigError: an attack that does not exist.
    """
    if not is_attack(attack):
        raise ConfigError(f"unknown attack {attack!r}; choose from: {WRITTEN}")
    eps = config.attack.eps if config.evaluation.eps is None else config.evaluation.eps
    norm = config.evaluation.norm or config.attack.norm
    step_size = config.evaluation.step_size or eps / _STEPS_IN_EPS[norm]
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
            norm=_AA_NORMS[norm],
        )
        part = LabelledImages(images, part.targets)
    iterated = _ITERATED.fullmatch(attack)
    correct = []
    with frozen(model, training=False):
        for images, targets in evaluation_batches(part, size):
            if iterated is not None:
                images = pgd(
                    model, images, targets, eps=eps, step_size=step_size,
                    steps=int(iterated.group(2)), norm=norm, start="uniform_clipped",
                    objective=_OBJECTIVES[iterated.group(1)], generator=generator,
                )  # fmt: skip
            with torch.no_grad():
                correct.append(model(images).argmax(dim=1) == targets)
    return Accuracy.count(torch.cat(correct), part.targets, classes)
