"""Names and numbers as the report writes them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.names import attack_name, method_name
from ltat_tune.report.search_plots import short
from ltat_tune.space.objective import attack_of, group_of
from ltat_tune.space.space import Scenario, text_of

NONE = "–"
_GROUPS = {"": "accuracy", "balanced": "balanced accuracy", "worst": "accuracy of the worst class"}
_NAMED = ("method.name", "loss.name")  # told by `method_name`


def percent(value: float | None, digits: int = 1) -> str:
    """`41.2` of 0.4123, `–` of None."""
    return NONE if value is None else f"{100 * value:.{digits}f}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 trial`, `3 trials`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def trial(number: int) -> str:
    """`t0003`."""
    return f"t{number:04d}"


def metric_name(metric: str) -> str:
    """`balanced accuracy under PGD-20` of `val/pgd20_balanced_acc`."""
    attack, group = attack_of(metric), group_of(metric)
    what = _GROUPS.get(group, f"accuracy of the {group} classes")
    return f"{what} under {attack_name(attack)}" if attack != "clean" else f"clean {what}"


def label(path: str) -> str:
    """`optim.lr (η)`; a path that this version does not know as it is."""
    return PARAMETERS[path].label if path in PARAMETERS else path


def value(path: str, setting: Any) -> str:
    """A parameter's value: three digits, or more where it is close to 1."""
    if isinstance(setting, float):
        return f"{setting:.6g}" if 0.9 < setting < 1 else f"{setting:.3g}"
    return text_of(setting)


def settings(params: Mapping[str, Any], *, without: Sequence[str] = _NAMED) -> str:
    """`η = 0.161, λ = 2`, without what the method's name tells already."""
    return ", ".join(f"{short(p)} = {value(p, v)}" for p, v in params.items() if p not in without)


def configuration(config: TrialConfig, params: Mapping[str, Any]) -> str:
    """`PGD-AT (BSL) with η = 0.161`."""
    told = settings(params)
    return f"{method_name(config)} with {told}" if told else method_name(config)


def place(scenario: Scenario) -> str:
    """`imbalance ratio 50`, or `the only scenario`."""
    words = [f"{p.rpartition('.')[2].replace('_', ' ')} {text_of(v)}"
             for p, v in scenario.values.items()]  # fmt: skip
    return ", ".join(words) or "the only scenario"


def gain(score: Sequence[float], other: Sequence[float]) -> str:
    """`+5.9` points."""
    return f"{100 * (statistics.fmean(score) - statistics.fmean(other)):+.1f}"


__all__ = ["attack_name", "method_name", "short", "text_of"]
