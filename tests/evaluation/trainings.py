"""A small digits training as `ltat-tune train --checkpoint` leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.training.trainer import Trainer

SMALL: dict[str, Any] = {
    "data.name": "digits",
    "data.val_per_class": 5,
    "data.max_per_class": 40,
    "data.imbalance_ratio": 4,
    "model.width": 4,
    "model.stem": "space_to_depth",
    "method.name": "natural",
    "attack.eps": 0.05,
    "optim.epochs": 2,
    "optim.batch_size": 32,
    "optim.lr": 0.1,
    "optim.lr_schedule": "cosine",
    "evaluation.val_attack": "clean",
}


def train_into(folder: Path, **values: Any) -> TrialConfig:
    """Writes config.yaml and checkpoint.pt; keys of `values` have `__` for the dot."""
    config = TrialConfig.from_flat(
        {**SMALL, **{k.replace("__", "."): v for k, v in values.items()}}
    )
    folder.mkdir(parents=True, exist_ok=True)
    dump_config(folder / "config.yaml", config, comment="for tests")
    Trainer(config).fit(checkpoint=folder / "checkpoint.pt")
    return config
