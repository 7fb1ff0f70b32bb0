"""The smallest trainings: 105 digits, a network of width 4, two attack steps."""

from __future__ import annotations

from ltat_tune.config.trial_config import TrialConfig

TINY: dict[str, object] = {
    "data.max_per_class": 20,
    "data.imbalance_ratio": 4,
    "data.val_per_class": 10,
    "model.width": 4,
    "model.stem": "space_to_depth",
    "attack.steps": 2,
    "optim.epochs": 3,
    "optim.batch_size": 32,
    "evaluation.val_attack": "pgd2",
}


def tiny(**values: object) -> TrialConfig:
    """A tiny training, and the given values by path with `__` for the dot."""
    given = {path.replace("__", "."): value for path, value in values.items()}
    return TrialConfig.from_flat({**TINY, **given})
