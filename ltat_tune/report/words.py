"""Format names and numbers for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.names import attack_name, method_name
from ltat_tune.presentation.states import state_in_words
from ltat_tune.presentation.units import in_percent, percent
from ltat_tune.report.search_plots import short
from ltat_tune.space.objective import attack_of, group_of
from ltat_tune.space.space import Scenario, text_of

NONE = "–"
_GROUPS = {"": "accuracy", "balanced": "balanced accuracy", "worst": "accuracy of the worst class"}
_NAMED = ("method.name", "loss.name")  # `method_name` names them


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, `1 trial` or `3 trials`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def trial(number: int) -> str:
    """Return a trial's short name, `t0003`."""
    return f"t{number:04d}"


def metric_name(metric: str) -> str:
    """Return `balanced accuracy under PGD-20` for `val/pgd20_balanced_acc`."""
    attack, group = attack_of(metric), group_of(metric)
    what = _GROUPS.get(group, f"accuracy of the {group} classes")
    return f"{what} under {attack_name(attack)}" if attack != "clean" else f"clean {what}"


def label(path: str) -> str:
    """Return `optim.lr (η)`; a path that this version does not know stays unchanged."""
    return PARAMETERS[path].label if path in PARAMETERS else path


def value(path: str, setting: Any) -> str:
    """Return a parameter's value with three digits, or with six between 0.9 and 1."""
    if isinstance(setting, float):
        return f"{setting:.6g}" if 0.9 < setting < 1 else f"{setting:.3g}"
    return text_of(setting)


def settings(params: Mapping[str, Any], *, without: Sequence[str] = _NAMED) -> str:
    """Return `η = 0.161, λ = 2`, without the parameters that the method's name shows."""
    return ", ".join(f"{short(p)} = {value(p, v)}" for p, v in params.items() if p not in without)


def configuration(config: TrialConfig, params: Mapping[str, Any]) -> str:
    """Return a configuration in words, `PGD-AT (BSL) with η = 0.161`."""
    values = settings(params)
    return f"{method_name(config)} with {values}" if values else method_name(config)


def how_it_ended(state: str) -> str:
    """Return a trial's state in words: `trained to the end`, `stopped early`, `failed`."""
    return "trained to the end" if state == "complete" else state_in_words(state)


def place(scenario: Scenario) -> str:
    """Return a scenario in words, `imbalance ratio 50 (53.33 reached)`; `the default scenario`."""
    words = [f"{p.rpartition('.')[2].replace('_', ' ')} {t}" for p, t in scenario.texts.items()]
    return ", ".join(words) or scenario.title


__all__ = ["attack_name", "in_percent", "method_name", "percent", "short", "text_of"]
