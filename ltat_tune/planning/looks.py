"""What tests and sentinels cost beside an epoch, in passes, without building a network."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from ltat_tune.data.sources import class_counts, open_source
from ltat_tune.errors import DataError
from ltat_tune.planning.cost import (
    attack_passes,
    epoch_passes,
    image_facts,
    sentinel_passes,
    validation_passes,
)
from ltat_tune.planning.estimate import CONTEXTS
from ltat_tune.space.space import Space


@dataclass(frozen=True)
class LookCost:
    """The cost of tests, of a sentinel and of an epoch, in passes (planning/cost.py).

    Attributes:
        attacks: attack -> passes, in the order in which a test runs them.
        sentinel: passes of one check for gradient masking.
        epoch: passes of an epoch, with its share of a validation.
    """

    attacks: Mapping[str, float]
    sentinel: float
    epoch: float

    @property
    def test(self) -> float:
        """The passes of all attacks of a test, once."""
        return sum(self.attacks.values())


def look_costs(space: Space) -> dict[str, LookCost]:
    """Return the costs by scenario, without those whose images cannot be counted."""
    costs = {}
    confirm = space.confirm
    for scenario in space.scenarios:
        configs = [space.config(scenario, params) for params in space.contexts(CONTEXTS)]
        config = configs[0]
        try:
            counts = class_counts(config)
            _, _, test, _ = image_facts(config, open_source(config.data))
        except DataError:
            continue
        update = statistics.fmean(epoch_passes(each, sum(counts)) for each in configs)
        validation = validation_passes(config, len(counts), test)
        costs[scenario.name] = LookCost(
            attack_passes(config, confirm.attacks, test, at_most=confirm.test_images),
            sentinel_passes(min(test, confirm.test_images or test)),
            update + validation / config.evaluation.every_epochs,
        )
    return costs
