"""What is wrong with a study, and what mends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from ltat_tune.errors import LtatError
from ltat_tune.preflight.finding import Finding
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trials import TrialRow, read_trials

_T = TypeVar("_T")
MEND = "ltat-tune doctor STUDY --mend"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a study.

    Attributes:
        finding: what is wrong, as the doctor prints it.
        mend: makes it right, and returns what it did; None if only the user can.
    """

    finding: Finding
    mend: Callable[[], str] | None = None


def attempt(read: Callable[[], _T]) -> _T | Literal[False]:
    """Return what `read` does, or False if what it reads is damaged."""
    try:
        return read()
    except (LtatError, OSError):
        return False


def set_aside(path: Path) -> str:
    """Rename a file or folder to `NAME.damaged`. Return that name; empty if it is not there."""
    if not os.path.lexists(path):
        return ""
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(path, aside)
    return aside.name


def read_trials_quietly(folder: StudyFolder) -> list[TrialRow]:
    """Return every trial; none of a ledger that cannot be read, which is another finding."""
    found = attempt(partial(read_trials, folder))
    return found or []
