"""Hyperparameter studies of adversarial training on long-tailed data.

For notebooks and scripts: `from ltat_tune import Study, TrialConfig, Trainer, evaluate`. Each name
is imported at its first use, so that `import ltat_tune` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltat_tune._version import __version__

if TYPE_CHECKING:
    from ltat_tune.api.evaluation import evaluate
    from ltat_tune.api.study import Study
    from ltat_tune.config.trial_config import TrialConfig
    from ltat_tune.training.trainer import Trainer


__all__ = ["Study", "Trainer", "TrialConfig", "__version__", "evaluate"]

_WHERE = {
    "Study": "ltat_tune.api.study",
    "evaluate": "ltat_tune.api.evaluation",
    "TrialConfig": "ltat_tune.config.trial_config",
    "Trainer": "ltat_tune.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
