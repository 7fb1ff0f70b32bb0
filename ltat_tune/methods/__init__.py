"""Methods: what happens in a training step, one paper each."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ltat_tune.attacks import build_attack
from ltat_tune.config import TrialConfig
from ltat_tune.losses import build_loss
from ltat_tune.methods.base import Method, PredictionLoss, StepOutput
from ltat_tune.methods.natural import Natural
from ltat_tune.methods.pgd_at import PGDAT
from ltat_tune.methods.srat import SRAT

__all__ = [
    "METHODS",
    "PGDAT",
    "SRAT",
    "Method",
    "Natural",
    "StepOutput",
    "build_method",
    "needs_projection",
]

METHODS: dict[str, Callable[[TrialConfig, PredictionLoss], Method]] = {
    "natural": lambda config, loss: Natural(loss),
    "pgd_at": lambda config, loss: PGDAT(loss, build_attack(config.attack)),
    "srat": lambda config, loss: SRAT(
        loss,
        build_attack(config.attack),
        separation_weight=config.method.separation_weight,
        temperature=config.method.temperature,
    ),
}


def build_method(config: TrialConfig, samples_per_class: Tensor) -> Method:
    """The configured method with its loss and attack.

    Args:
        config: the trial.
        samples_per_class: training images per class, shape (K,), on the device that trains: the
            loss keeps its buffers there.
    """
    return METHODS[config.method.name](config, build_loss(config.loss, samples_per_class))


def needs_projection(config: TrialConfig) -> bool:
    """Whether the model must be built with a projection head (only where the head is trained)."""
    method = config.method
    return (
        method.name == "srat"
        and method.separation_weight > 0
        and method.separation_features == "projection"
    )
