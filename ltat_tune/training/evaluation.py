"""Measures the accuracy of a model on one split, on clean images or under one attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.attacks.balls import first_images
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.named import STEPS_IN_EPS, EvaluationAttack, parse_attack
from ltat_tune.config.attack_names import WRITTEN, is_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import evaluation_batches
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import ConfigError
from ltat_tune.models.computing import exactly
from ltat_tune.seeding import new_generator, stream_seed
from ltat_tune.training.metrics import Accuracy

# Every model of a study is attacked with the same noise, whatever its own seed is.
_EVALUATION_SEED = 0
_OBJECTIVES = {"pgd": "cross_entropy", "cw": "margin"}
_SLOW = ("aa", "square", "cwl2", "cwl2_fixed")


def measured_part(data: LabelledImages, attack: str, config: TrialConfig) -> LabelledImages:
    """Return the images to attack: all of them, or a class-balanced part for slow attacks."""
    if attack not in _SLOW:
        return data
    return data.class_balanced_part(config.evaluation.aa_images, seed=_EVALUATION_SEED)


def measure_accuracy(
    model: nn.Module, data: LabelledImages, attack: str, config: TrialConfig, *, classes: int
) -> Accuracy:
    """Count the correct predictions by class under one attack, in eval mode.

    The model's modes and parameters are restored afterwards. Only correctly classified clean
    images are attacked: a misclassified clean image counts as misclassified under every attack, as
    in RobustBench. Predictions are computed in float32, whatever precision the model trains and is
    attacked in. The norm and the radius are those of `evaluation`, or of the training attack where
    `evaluation` has none. The default step is a quarter of the radius in L-inf and a fifth in L2.
    `EvaluationAttack` describes each attack. The noise of an image is the same for all models.

    Raises:
        ConfigError: the attack does not exist, or not in this norm.
    """
    part = measured_part(data, attack, config)
    return Accuracy.count(correct_answers(model, part, attack, config), part.targets, classes)


def correct_answers(
    model: nn.Module, part: LabelledImages, attack: str, config: TrialConfig
) -> Tensor:
    """Return which images of a part the model answers right under one attack: (N,) bool.

    `measure_accuracy` says how; this keeps the answers that it counts.

    Raises:
        ConfigError: the attack does not exist, or not in this norm.
    """
    if not is_attack(attack):
        raise ConfigError(f"unknown attack {attack!r}; choose from: {WRITTEN}")
    parsed = parse_attack(attack)
    generator = new_generator(_EVALUATION_SEED, attack)
    right = []
    with frozen(model, training=False):
        batches = evaluation_batches(part, config.evaluation.batch_size)
        for number, (images, targets) in enumerate(batches):
            with torch.no_grad(), exactly(model):
                standing = model(images).argmax(dim=1) == targets
            if attack != "clean" and bool(standing.any()):
                adv_images = _attacked(
                    parsed, model, images, targets, standing, config, generator, number
                )
                with torch.no_grad(), exactly(model):
                    still = model(adv_images).argmax(dim=1) == targets[standing]
                standing = standing.masked_scatter(standing, still)
            right.append(standing)
    return torch.cat(right)


def _attacked(
    attack: EvaluationAttack,
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    standing: Tensor,
    config: TrialConfig,
    generator: torch.Generator,
    number: int,
) -> Tensor:
    """Attack the images that stand (are still classified correctly): (standing, C, H, W)."""
    eps, norm = config.measured_eps, config.measured_norm
    family, restarts = attack.parts.family, attack.parts.restarts
    if family not in _OBJECTIVES or restarts > 1:
        return attack.run(
            model, images[standing], targets[standing], eps=eps, norm=norm,
            step_size=config.evaluation.step_size,
            seed=stream_seed(_EVALUATION_SEED, f"{attack.name}/{number}") % 2**31,
        )  # fmt: skip
    # Drawn for the whole batch, so that the noise of an image does not depend on the model.
    start = first_images(images, eps, start="uniform_clipped", norm=norm, generator=generator)
    return pgd(
        model, images[standing], targets[standing], eps=eps, norm=norm,
        step_size=config.evaluation.step_size or eps / STEPS_IN_EPS[norm],
        steps=attack.parts.steps, start=start[standing], objective=_OBJECTIVES[family],
    )  # fmt: skip
