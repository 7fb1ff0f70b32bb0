"""The sections of a configuration, each parameter with default, bounds, meaning and source."""

from __future__ import annotations

from ltat_tune.config.sections.attack import AttackConfig
from ltat_tune.config.sections.compute import ComputeConfig
from ltat_tune.config.sections.data import DataConfig
from ltat_tune.config.sections.evaluation import EvaluationConfig, SeedsConfig
from ltat_tune.config.sections.loss import LossConfig, ReweightConfig
from ltat_tune.config.sections.method import MethodConfig
from ltat_tune.config.sections.model import ModelConfig
from ltat_tune.config.sections.optim import OptimConfig
from ltat_tune.config.sections.script import ScriptConfig

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
    "ScriptConfig",
    "SeedsConfig",
]
