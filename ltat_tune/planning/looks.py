"""What tests and sentinels cost beside an epoch, in passes, without building a network.

Where fewer tests remain than slots, slots share them: each measures some of a test's batches.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ltat_tune.data.sources import class_counts, open_source
from ltat_tune.errors import DataError
from ltat_tune.planning.cost import (
    attack_images,
    attack_passes,
    epoch_passes,
    image_facts,
    sentinel_passes,
    validation_passes,
    validation_share,
)
from ltat_tune.planning.estimate import CONTEXTS
from ltat_tune.space.space import Space

_LEAST_SAVED_EPOCHS = 1.0  # by parts of a test, which begin with a start of a worker each
_NEARLY = 1.1  # times the shortest: fewer parts are better then


@dataclass(frozen=True)
class SharedTests:
    """How slots share the tests of one scenario.

    Attributes:
        parts: of each test that does not fill the slots; 1 if none is measured in parts.
        rounds: how long all tests take, in tests.
    """

    parts: int
    rounds: float


@dataclass(frozen=True)
class LookCost:
    """The cost of tests, of a sentinel and of an epoch, in passes (planning/cost.py).

    Attributes:
        attacks: attack -> passes, in the order in which a test runs them.
        sentinel: passes of one check for gradient masking.
        epoch: passes of an epoch, with its share of a validation.
        batches: attack -> how many batches it has; by default 1.
    """

    attacks: Mapping[str, float]
    sentinel: float
    epoch: float
    batches: Mapping[str, int] = field(default_factory=dict)

    @property
    def test(self) -> float:
        """The passes of all attacks of a test, once."""
        return sum(self.attacks.values())

    def sharing(
        self, tests: int, slots: int, *, attacks: Collection[str] | None = None
    ) -> SharedTests:
        """Return how so many slots share so many tests in the least time.

        As many tests as fill the slots are measured whole. The others are measured in parts, the
        fewest that take next to the least time, if that saves the time of an epoch.

        Args:
            tests: how many remain.
            slots: how many tasks run at once.
            attacks: that remain of each test; None is all.
        """
        whole, rest = divmod(tests, max(1, slots))
        left = {a: c for a, c in self.attacks.items() if attacks is None or a in attacks}
        of_batches: list[float] = []
        for attack, passes in left.items():
            count = self.batches.get(attack, 1)
            of_batches += [passes / count] * count
        total = sum(of_batches)
        if rest == 0 or total == 0:
            return SharedTests(1, float(whole + (rest > 0)))
        lengths = {
            parts: math.ceil(rest * parts / slots)
            * max(sum(of_batches[part::parts]) for part in range(parts)) / total
            for parts in range(1, min(slots, len(of_batches)) + 1)
        }  # fmt: skip
        shortest = min(lengths.values())
        parts = next(n for n, length in lengths.items() if length <= _NEARLY * shortest)
        if (1 - lengths[parts]) * total < _LEAST_SAVED_EPOCHS * self.epoch:
            parts = 1
        return SharedTests(parts, whole + lengths[parts])


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
        validation = validation_passes(config, len(counts), test, sum(counts))
        passes = attack_passes(config, confirm.attacks, test, at_most=confirm.test_images)
        images = attack_images(config, confirm.attacks, test, at_most=confirm.test_images)
        size = config.evaluation.batch_size
        costs[scenario.name] = LookCost(
            passes,
            sentinel_passes(min(test, confirm.test_images or test)),
            update + validation * validation_share(config),
            {attack: math.ceil(count / size) for attack, count in images.items()},
        )
    return costs
