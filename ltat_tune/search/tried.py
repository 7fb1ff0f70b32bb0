"""Keeps which configurations a scenario has tried, so that none trains twice with one seed."""

from __future__ import annotations

import random
import warnings
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import optuna

from ltat_tune.space.domains import sampling_order
from ltat_tune.space.enumeration import all_points
from ltat_tune.space.space import Scenario, Space

_DRAWS = 1000  # after so many repeats, an uncountable space counts as exhausted


class SearchExhausted(Exception):
    """Raised when every configuration of a scenario has been tried; the text says so."""


class Tried:
    """The rows of one scenario by what they train.

    Two proposals are the same if their recipes are: parameters that cannot change the result make
    no difference. A row that repeats another is left out of every count, and trials are numbered
    as if it did not exist.

    Args:
        space: turns parameters into a configuration.
        scenario: the scenario of these rows.
    """

    def __init__(self, space: Space, scenario: Scenario) -> None:
        self._space, self._scenario = space, scenario
        self._rows: dict[str, int] = {}  # recipe -> Optuna's number of the row that trains it
        self._repeated: list[int] = []  # Optuna's numbers, rising
        self._every: dict[str, dict[str, Any]] | None = None  # only if the space is countable
        self.begun = 0  # trials, without repeats

    def add(self, number: int, params: Mapping[str, Any]) -> int | None:
        """Count a row as a trial, or return the number of the row that trains the same."""
        if not self.is_whole(params):  # it never began, so its recipe is not known
            self.begun += 1
            return None
        earlier = self._rows.setdefault(self._recipe(params), number)
        if earlier != number:
            return earlier
        self.begun += 1
        return None

    def has(self, params: Mapping[str, Any]) -> bool:
        """Return whether a row trains the same as these parameters."""
        return self._recipe(params) in self._rows

    def is_whole(self, params: Mapping[str, Any]) -> bool:
        """Return whether every parameter that exists in these has a value."""
        tuned = self._space.tuned
        return all(p in params for p in sampling_order(tuned) if tuned[p].active(params))

    def leave_out(self, number: int) -> None:
        """Note that this row, later than all others, is a repeat."""
        self._repeated.append(number)

    def is_repeat(self, number: int) -> bool:
        """Return whether a row, by Optuna's number, is left out."""
        place = bisect_left(self._repeated, number)
        return place < len(self._repeated) and self._repeated[place] == number

    def trial_number(self, number: int) -> int:
        """Return the trial's number of a row with Optuna's number."""
        return number - bisect_left(self._repeated, number)

    def row_number(self, number: int) -> int:
        """Return Optuna's number of a trial's row; the inverse of `trial_number`."""
        for repeat in self._repeated:
            if repeat > number:
                break
            number += 1
        return number

    def untried(self, seed: int, values: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return a random configuration that no row has, or None if there is none left.

        Args:
            seed: of the draw.
            values: what it must have.
        """
        values = values or {}
        if self._every is None:
            points = all_points(self._space.tuned)
            self._every = {} if points is None else {self._recipe(p): p for p in points}
        if self._every:
            left = [
                point for recipe, point in self._every.items()
                if recipe not in self._rows and values.items() <= point.items()
            ]  # fmt: skip
            return random.Random(seed).choice(left) if left else None
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        for _ in range(_DRAWS):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study.enqueue_trial(dict(values))
                point = self._space.suggest(study.ask())
            if self._recipe(point) not in self._rows:
                return point
        return None

    def _recipe(self, params: Mapping[str, Any]) -> str:
        return self._space.config(self._scenario, params).recipe
