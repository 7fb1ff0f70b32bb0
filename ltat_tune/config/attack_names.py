"""Names of evaluation attacks, such as `clean`, `pgd20`, `pgd20x5`, `aa`. Reads no model."""

from __future__ import annotations

import re
from dataclasses import dataclass

# the choice, for messages; transfer<steps> is not in it, because it needs a second model
WRITTEN = (
    "clean, fgsm, pgd<steps>, mim<steps>, cw<steps>, adaptive<steps>, square, aa, cwl2, "
    "cwl2_fixed; x<restarts> may follow the steps"
)
VALIDATION_PATTERN = r"clean|fgsm|(?:pgd|cw|adaptive)[1-9]\d*"  # others would outlast the training
_VALIDATION = re.compile(VALIDATION_PATTERN)
_ITERATED = re.compile(r"(pgd|mim|cw|adaptive|transfer)([1-9]\d*)(?:x([2-9]|[1-9]\d+))?")
_OTHERS = ("clean", "fgsm", "square", "aa", "cwl2", "cwl2_fixed")
ATTACK_PATTERN = (  # what `is_attack` accepts
    rf"{'|'.join(_OTHERS)}|(?:pgd|mim|cw|adaptive)[1-9]\d*(?:x(?:[2-9]|[1-9]\d+))?"
)


@dataclass(frozen=True)
class AttackName:
    """The parts of a name: `pgd`, 20 and 5 of `pgd20x5`."""

    family: str
    steps: int = 0  # 0: the name has none
    restarts: int = 1

    def __str__(self) -> str:
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        return f"{self.family}{self.steps or ''}{restarts}"


def read_name(name: str) -> AttackName | None:
    """The parts of `name`, or None where it names no attack."""
    if name in _OTHERS:
        return AttackName(name)
    match = _ITERATED.fullmatch(name)
    if match is None:
        return None
    family, steps, restarts = match.groups()
    return AttackName(family, int(steps), int(restarts or 1))


def is_attack(name: str) -> bool:
    """Whether `name` is an attack that a trained model can be measured under, by itself."""
    parts = read_name(name)
    return parts is not None and parts.family != "transfer"


def is_validation_attack(name: str) -> bool:
    """Whether `name` is an attack for the validation images, during the training."""
    return _VALIDATION.fullmatch(name) is not None


def with_steps(name: str, steps: int) -> str:
    """`pgd2` for `pgd20` and 2 steps; names without steps stay.

    Raises:
        ValueError: no attack of this name.
    """
    parts = read_name(name)
    if parts is None:
        raise ValueError(f"unknown attack {name!r}; choose from: {WRITTEN}")
    return str(AttackName(parts.family, steps if parts.steps else 0, parts.restarts))
