"""A configuration's sections: every parameter with its default, bounds, meaning and source."""

from __future__ import annotations

from ltat_tune.sections.attack import AttackConfig
from ltat_tune.sections.compute import ComputeConfig
from ltat_tune.sections.data import DataConfig
from ltat_tune.sections.loss import LossConfig, ReweightConfig
from ltat_tune.sections.measurement import EvaluationConfig, SeedsConfig
from ltat_tune.sections.method import MethodConfig
from ltat_tune.sections.model import ModelConfig
from ltat_tune.sections.optim import OptimConfig

__all__ = [
    "AttackConfig",
    "ComputeConfig",
    "DataConfig",
    "EvaluationConfig",
    "LossConfig",
    "MethodConfig",
    "ModelConfig",
    "OptimConfig",
    "ReweightConfig",
    "SeedsConfig",
]
