"""Attacks: (model, images, targets) to adversarial images of the same shape."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from ltat_tune.attacks.autoattack import autoattack, standard_attacks
from ltat_tune.attacks.pgd import pgd
from ltat_tune.config import AttackConfig

__all__ = ["TrainingAttack", "autoattack", "build_attack", "pgd", "standard_attacks"]


class TrainingAttack(Protocol):
    """What a method needs of an attack: images (N, C, H, W) to images of the same shape."""

    def __call__(
        self, model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
    ) -> Tensor: ...


def build_attack(config: AttackConfig) -> TrainingAttack:
    """PGD with the configuration's knobs; model, images, targets and generator are left open."""
    return partial(
        pgd,
        eps=config.eps,
        step_size=config.step_size,
        steps=config.steps,
        start=config.start,
        bn_mode=config.bn_mode,
    )
