"""Parses the names of evaluation attacks, such as `clean`, `pgd20`, `pgd20x5` and `aa`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

# The choices that messages list. transfer<steps> is left out, because it needs a second model.
WRITTEN = (
    "clean, fgsm, pgd<steps>, mim<steps>, cw<steps>, adaptive<steps>, square, aa, cwl2, "
    "cwl2_fixed; x<restarts> may follow the steps"
)
VALIDATION_PATTERN = r"clean|fgsm|(?:pgd|cw|adaptive)[1-9]\d{0,4}"  # others take too long
_VALIDATION = re.compile(VALIDATION_PATTERN)
_OWN = "pgd|mim|cw|adaptive"  # iterated, and need no second model
# at most 99,999 steps and 999 restarts: more never end
_STEPS, _RESTARTS = r"[1-9]\d{0,4}", r"[2-9]|[1-9]\d{1,2}"
_ITERATED = re.compile(rf"({_OWN}|transfer)({_STEPS})(?:x({_RESTARTS}))?")
_SLOW = ("square", "aa", "cwl2", "cwl2_fixed")
_OTHERS = ("clean", "fgsm", *_SLOW)
_ALSO = {"autoattack": "aa", "natural": "clean", "carliniwagner": "cw100", "bim": "pgd20",
         "squareattack": "square", "mifgsm": "mim20"}  # fmt: skip
ATTACK_PATTERN = (  # what `is_attack` accepts
    rf"{'|'.join(_OTHERS)}|(?:{_OWN}){_STEPS}(?:x(?:{_RESTARTS}))?"
)


@dataclass(frozen=True)
class AttackName:
    """The parts of an attack's name: `pgd`, 20 and 5 for `pgd20x5`."""

    family: str
    steps: int = 0  # 0 if the name has no steps
    restarts: int = 1

    def __str__(self) -> str:
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        return f"{self.family}{self.steps or ''}{restarts}"


def read_name(name: str) -> AttackName | None:
    """Split `name` into its parts. Return None if it names no attack."""
    if name in _OTHERS:
        return AttackName(name)
    match = _ITERATED.fullmatch(name)
    if match is None:
        return None
    family, steps, restarts = match.groups()
    return AttackName(family, int(steps), int(restarts or 1))


def is_attack(name: str) -> bool:
    """Return whether `name` is an attack that needs no model but the one that is measured."""
    parts = read_name(name)
    return parts is not None and parts.family != "transfer"


def is_slow(name: str) -> bool:
    """Return whether `name` is an attack that runs on `evaluation.aa_images` images at most."""
    return name in _SLOW


def is_validation_attack(name: str) -> bool:
    """Return whether `name` is an attack that may be run on the validation images in training."""
    return _VALIDATION.fullmatch(name) is not None


def meant_attack(written: str) -> str | None:
    """Return the attack that was probably meant: `pgd20` for `PGD-20`, `aa` for `autoattack`."""
    plain = re.sub(r"[^a-z0-9]", "", written.casefold())
    plain = _ALSO.get(plain, plain)
    if read_name(plain) is not None:
        return plain
    if plain in _OWN.split("|"):
        return f"{plain}20"
    close = difflib.get_close_matches(plain, [*_OTHERS, *_ALSO, "pgd20", "cw20", "mim20"], n=1)
    return _ALSO.get(close[0], close[0]) if close else None


def unknown_attack(name: str, choice: str = WRITTEN) -> str:
    """Return the sentence for an attack that does not exist."""
    meant = meant_attack(name)
    hint = f"did you mean {meant}? Choose" if meant and meant != name else "choose"
    return f"unknown attack {name!r}; {hint} from: {choice}"


def with_steps(name: str, steps: int) -> str:
    """Replace the steps in a name: `pgd2` for `pgd20` and 2 steps. Other names stay unchanged.

    Raises:
        ValueError: there is no attack of this name.
    """
    parts = read_name(name)
    if parts is None:
        raise ValueError(unknown_attack(name))
    return str(AttackName(parts.family, steps if parts.steps else 0, parts.restarts))
