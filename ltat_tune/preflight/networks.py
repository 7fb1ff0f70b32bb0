"""Builds every network that this package did not write, and runs it on images of the study."""

from __future__ import annotations

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.sources import is_available
from ltat_tune.errors import ConfigError, LtatError
from ltat_tune.planning.cost import cost_of
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space


def check_networks(space: Space, problems: Problems) -> None:
    """Refuse networks that do not exist, or that cannot take the images or lack a head."""
    first: dict[object, TrialConfig] = {}
    for _, proposals in space.configurations:
        for _, config in proposals:
            model, data = config.model, config.data
            if "/" in model.name or ":" in model.name:
                first.setdefault(
                    (model.name, model.features, data.name, data.root, data.image_size), config
                )
    for config in first.values():
        try:
            if is_available(config.data):
                cost_of(config, ("clean",))  # builds the network, and measures a pass
        except ConfigError as error:
            for problem in error.problems:
                problems.add_about(problem, names="model.name")
        except LtatError:
            continue  # the check of the images says what is wrong with them
