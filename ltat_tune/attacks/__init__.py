"""Attacks: (model, images, targets) to adversarial images of the same shape."""

from __future__ import annotations

from ltat_tune.attacks.autoattack import autoattack, standard_attacks
from ltat_tune.attacks.pgd import pgd
from ltat_tune.attacks.training import TrainingAttack, build_attack, no_attack

__all__ = ["TrainingAttack", "autoattack", "build_attack", "no_attack", "pgd", "standard_attacks"]
