"""What is believed of good values before anything was trained: the `prior` of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltat_tune.search.predict.coordinates import Coordinates, Floats
from ltat_tune.space.domains import Domain, sampling_order

_WIDTH = 0.2  # standard deviation of a belief, as a share of the parameter's range
_DOUBT = 0.1  # what a value far from the prior is worth, beside one at the prior
_TRIALS = 0.3  # a belief counts as it says after so many trainings, and fades with more


class Belief:
    """Weighs expected gains by the priors, less with every training (piBO, Hvarfner2022PiBO).

    Args:
        tuned: the domains, by path.
        coordinates: place the configurations.
    """

    def __init__(self, tuned: Mapping[str, Domain], coordinates: Coordinates) -> None:
        order = sampling_order(tuned)
        self.values = {p: tuned[p].prior for p in order if tuned[p].prior is not None}
        self._rows = [order.index(path) for path in self.values]
        self._coordinates = coordinates
        self._at = coordinates.place([self.values])

    def weights(self, points: Sequence[Mapping[str, Any]], places: Floats, trained: int) -> Floats:
        """Return the weight of each configuration, shape (N,), at most 1.

        A parameter that a configuration lacks says nothing of it.

        Args:
            points: the configurations.
            places: their coordinates.
            trained: whole trainings that ended.
        """
        if not self.values:
            return np.ones(len(points))
        squares = self._coordinates.by_parameter(places, self._at)[self._rows, :, 0]
        density = _DOUBT + (1 - _DOUBT) * np.exp(-0.5 * squares / _WIDTH**2)
        has = np.array([[path in point for point in points] for path in self.values], dtype=bool)
        log = np.where(has, np.log(density), 0.0).sum(0)
        weights: Floats = np.exp(log * _TRIALS / max(trained, 1))
        return weights
