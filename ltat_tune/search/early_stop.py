"""Why a trial was stopped early: its score at a rung, its rank there, and the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ltat_tune.presentation.units import percent

JudgedScore = Literal["own", "best", "probe", "copy"]
_WHERE: dict[JudgedScore, str] = {
    "own": " at epoch {}",
    "best": ", its best up to epoch {},",
    "probe": " in the probe at epoch {}",
    "copy": " in its copy of {} epochs",
}
_MOST_DIGITS = 6


@dataclass(frozen=True)
class EarlyStop:
    """The facts behind the decision to stop a trial at a rung.

    Attributes:
        epoch: the rung's epoch, or the length of a copy.
        score: the score that was judged, a fraction.
        threshold: the score that a trial had to reach. A copy may reach it and still lose to an
            earlier trial with the same score.
        rank: its rank among the scores at the rung, from 1; the best has 1.
        scores: number of scores at the rung at that moment, its own included.
        judged: whose score it is: the trial's own, its best so far, its probe's or its copy's.
        bracket: whether only the trials of its bracket count (hyperband).
    """

    epoch: int
    score: float
    threshold: float
    rank: int
    scores: int
    judged: JudgedScore = "own"
    bracket: bool = False

    @property
    def sentence(self) -> str:
        """`31.2 % at epoch 9 is rank 7 of 9, below the threshold of 34.0 %`."""
        score, threshold = _told_apart(self.score, self.threshold)
        short = (
            f"below the threshold of {threshold}" if self.score < self.threshold
            else "and earlier trials with the same score went on"
        )  # fmt: skip
        within = " of its bracket" if self.bracket else ""
        where = _WHERE[self.judged].format(self.epoch)
        return f"{score}{where} is rank {self.rank} of {self.scores}{within}, {short}"


def _told_apart(score: float, threshold: float) -> tuple[str, str]:
    """Return two fractions in percent, with as many digits as it takes to see which is less."""
    for digits in range(1, _MOST_DIGITS):
        shown = f"{percent(score, digits)} %", f"{percent(threshold, digits)} %"
        if shown[0] != shown[1] or score == threshold:
            break
    return shown
