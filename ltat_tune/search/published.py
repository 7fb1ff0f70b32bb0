"""Gives the published configuration of a choice, within the domains of a space file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.space import Scenario, Space

_FIRST = ("method.name", "loss.name")  # they decide defaults of others, in this order


def published_start(space: Space, scenario: Scenario, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with these values and published ones for the rest.

    The defaults of a method or loss are its published values (`ltat-tune params` names their
    sources). Each is moved to the nearest value of its domain.
    """
    tuned, fixed = space.tuned, {**space.fixed, **scenario.values}
    order = sampling_order(tuned)
    order.sort(key=lambda path: _FIRST.index(path) if path in _FIRST else len(_FIRST))
    chosen: dict[str, Any] = {}
    while True:  # a parent may come later in this order
        path = next((p for p in order if p not in chosen and tuned[p].active(chosen)), None)
        if path is None:
            return {p: chosen[p] for p in sampling_order(tuned) if p in chosen}
        if path in values:
            chosen[path] = values[path]
        else:
            default = _default(fixed, {**values, **chosen}, path)
            chosen[path] = nearest(tuned[path], default)


def nearest(domain: Domain, value: Any) -> Any:
    """Return the value of a domain that is nearest to another one.

    Among choices without a distance it is the first; without a number, the middle of a range.
    """
    if domain.contains(value):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if domain.kind == "categorical":
        numbers = [c for c in domain.choices if type(c) in (int, float)]
        if not is_number or not numbers:
            return domain.choices[0]
        return min(numbers, key=lambda choice: abs(_scaled(numbers, choice, value)))
    low, high = domain.low, domain.high
    if not is_number:
        value = math.sqrt(low * high) if domain.log else (low + high) / 2
    value = min(max(value, low), high)
    step = domain.step or (1 if domain.kind == "int" else None)
    if step is not None:
        value = min(low + step * round((value - low) / step), high)
    return round(value) if domain.kind == "int" else float(value)


def _scaled(numbers: list[float], one: float, other: float) -> float:
    """Return the distance of two numbers, by their ratio where all are above 0."""
    if min(*numbers, other) > 0:
        return math.log(one / other)
    return one - other


def _default(fixed: Mapping[str, Any], values: Mapping[str, Any], path: str) -> Any:
    """Return a parameter's default beside these values; its plain one if they break a rule."""
    try:
        return TrialConfig.from_flat({**fixed, **values}).get(path)
    except ConfigError:
        return PARAMETERS[path].default
