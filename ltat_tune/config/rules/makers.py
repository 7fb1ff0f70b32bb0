"""Makes rules: functions that return why a parameter cannot act, or None if it can."""

from __future__ import annotations

from collections.abc import Callable

from ltat_tune.config.values import ConfigValues

ActsRule = Callable[[ConfigValues], str | None]


def needs_one_of(path: str, *values: str) -> ActsRule:
    """Make the rule of a parameter that acts only if `path` has one of these values."""

    def rule(config: ConfigValues) -> str | None:
        value = config.get(path)
        return (
            None
            if value in values
            else f"{path} is {value}, and only {' or '.join(values)} reads it"
        )

    return rule


def needs_none_of(path: str, *values: str) -> ActsRule:
    """Make the rule of a parameter that acts unless `path` has one of these values."""

    def rule(config: ConfigValues) -> str | None:
        value = config.get(path)
        return f"{path} is {value}" if value in values else None

    return rule


def needs_all(*rules: ActsRule) -> ActsRule:
    """Make the rule of a parameter that acts only if all of these rules allow it."""

    def rule(config: ConfigValues) -> str | None:
        return next((reason for check in rules if (reason := check(config)) is not None), None)

    return rule


def needs_above_zero(path: str) -> ActsRule:
    """Make the rule of a parameter that acts only if the number at `path` is not 0."""
    return lambda config: f"{path} is 0" if config.get(path) == 0 else None


def needs_null(path: str) -> ActsRule:
    """Make the rule of a parameter that acts only if the one at `path` is not given."""
    return lambda config: None if config.get(path) is None else f"{path} is given"
