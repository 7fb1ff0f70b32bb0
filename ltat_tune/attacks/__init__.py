"""Attacks. They map a model, images and targets to adversarial images of the same shape.

This package holds the attacks of the training, and the named attacks of the evaluation. May import
`models`, `losses` and what stands below. Methods, training and evaluation import it.
"""

from __future__ import annotations

from ltat_tune.attacks.autoattack import autoattack, standard_attacks
from ltat_tune.attacks.cw_l2 import Nearest, cw_l2
from ltat_tune.attacks.pgd import pgd
from ltat_tune.attacks.restarts import worst_of_restarts
from ltat_tune.attacks.square import square
from ltat_tune.attacks.training import TrainingAttack, build_attack, no_attack

__all__ = [
    "Nearest",
    "TrainingAttack",
    "autoattack",
    "build_attack",
    "cw_l2",
    "no_attack",
    "pgd",
    "square",
    "standard_attacks",
    "worst_of_restarts",
]
