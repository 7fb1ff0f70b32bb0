"""Names of evaluation attacks: `clean`, `pgd<steps>`, `cw<steps>`, `aa`. Reads no model."""

from __future__ import annotations

import re

WRITTEN = "clean, pgd<steps>, cw<steps>, aa"  # the choice, for messages
VALIDATION_PATTERN = r"clean|(?:pgd|cw)[1-9]\d*"  # AutoAttack would outlast the training
_VALIDATION = re.compile(VALIDATION_PATTERN)


def is_attack(name: str) -> bool:
    """Whether `name` is an attack that a trained model can be measured under."""
    return name == "aa" or is_validation_attack(name)


def is_validation_attack(name: str) -> bool:
    """Whether `name` is an attack for the validation images, during the training."""
    return _VALIDATION.fullmatch(name) is not None


def with_steps(name: str, steps: int) -> str:
    """`pgd2` for `pgd20` and 2 steps; clean and aa have none and stay.

    Raises:
        ValueError: no attack of this name.
    """
    if not is_attack(name):
        raise ValueError(f"unknown attack {name!r}; choose from: {WRITTEN}")
    family = name.rstrip("0123456789")
    return f"{family}{steps}" if family != name else name
