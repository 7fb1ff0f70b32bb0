"""One line of `ltat-tune doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The result of one check, with what to do about it.

    Attributes:
        level: ok; warn: studies run, but not as they might; fail: a study will not run.
        remedy: of warn and fail; of ok at most a hint.
    """

    name: str
    level: Level
    text: str
    remedy: str = ""
