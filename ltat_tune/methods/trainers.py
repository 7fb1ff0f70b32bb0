"""Training functions of plugins, which take the place of the training loop. None is built in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ltat_tune.config.trial_config import TrialConfig

# by method.name: config -> a function from an `OwnTraining` to nothing
TRAINERS: dict[str, Callable[[TrialConfig], Callable[[Any], None]]] = {}
