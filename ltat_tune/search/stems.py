"""Finds the epochs that trials share before late parameters act, to train them once, as a stem."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltat_tune.config.effects import acts_from_epoch, why_inert
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.provenance import versions
from ltat_tune.search.predict.coordinates import Floats
from ltat_tune.space.space import Scenario, Space


@dataclass(frozen=True)
class Stem:
    """The first `epochs` of a training; equal keys mean equal states, to the last bit on a CPU."""

    epochs: int
    key: str


def stem_of(config: TrialConfig, *, device: str, threads: int) -> Stem | None:
    """Return the longest beginning of a training that no late parameter can change.

    The key holds everything that acts before its end. It also holds the versions of ltat-tune and
    torch, the device and the threads, which may change the last digits. None if everything acts
    from the start.
    """
    begins = {path: acts_from_epoch(config, path) for path in acting(config)}
    epochs = max(begins.values())
    if not 0 < epochs < config.optim.epochs:
        return None
    early = {path: config.get(path) for path, begin in begins.items() if begin < epochs}
    of = {name: versions().get(name) for name in ("ltat-tune", "torch")}
    text = json.dumps([early, epochs, of, device, threads], sort_keys=True, default=str)
    return Stem(epochs, hashlib.sha256(text.encode()).hexdigest()[:16])


def acting(config: TrialConfig) -> list[str]:
    """Return the paths of the parameters that can change this configuration's result."""
    return [path for path in PARAMETERS if why_inert(config, path) is None]


def may_share(space: Space, config: TrialConfig) -> bool:
    """Return whether other trials may differ from this one only in late parameters."""
    late = late_paths(config)
    early = [domain for path, domain in space.tuned.items() if path not in late]
    if not late & space.tuned.keys():
        return False
    countable = all(d.kind == "categorical" or d.step is not None for d in early)
    return countable or space.searcher.branches > 1


def late_paths(config: TrialConfig) -> set[str]:
    """Return the parameters, acting or not, that cannot change anything before the stem's end."""
    begins = {path: acts_from_epoch(config, path) for path in PARAMETERS}
    epochs = max(begins[path] for path in acting(config))
    return {path for path, begin in begins.items() if begin >= epochs > 0}


class StemSharing:
    """Knows what whole trainings of one scenario share with earlier ones, by their stems.

    Args:
        space: the tuned parameters.
        scenario: the scenario.
    """

    def __init__(self, space: Space, scenario: Scenario) -> None:
        self._space, self._scenario = space, scenario
        self._late = [p for p in space.tuned if PARAMETERS[p].acts_from != "start"]
        self._stems: dict[str, Stem | None] = {}

    def shares(
        self, points: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]
    ) -> Floats:
        """Return the share of each training that an earlier one trained already, shape (N,).

        Args:
            points: configurations.
            trained: those whose whole training ended.
        """
        shares = np.zeros(len(points))
        if not self._late:
            return shares
        stems = {stem.key for point in trained if (stem := self._stem(point)) is not None}
        early = {self._early(point) for point in trained}
        for place, point in enumerate(points if stems else ()):
            if self._early(point) not in early:
                continue
            stem = self._stem(point)
            if stem is not None and stem.key in stems:
                shares[place] = stem.epochs / self._space.max_epochs
        return shares

    def _early(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(point.get(p) for p in self._space.tuned if p not in self._late)

    def _stem(self, point: Mapping[str, Any]) -> Stem | None:
        text = repr(sorted(point.items()))
        if text not in self._stems:
            config = self._space.config(self._scenario, point)
            stem = (
                stem_of(config, device="", threads=1) if may_share(self._space, config) else None
            )
            self._stems[text] = stem
        return self._stems[text]
