"""Asynchronous successive halving over complete short runs: decides who trains a longer one."""

from __future__ import annotations

import math

from ltat_tune.search.early_stop import EarlyStop

_TRUSTED_TRIALS = 8  # with fewer, a rank correlation says little


class Promotions:
    """ASHA's promotion rule (Li2020System, Algorithm 2, arXiv:1810.05934) over copies.

    A level is a length of short runs; the last promotion leads to the whole training. While a
    level may still grow, the best floor(n / eta) of the n trials that ended there go on. Once it
    cannot grow, the best ceil(n / eta) do, so that at least one does.

    Args:
        levels: number of lengths.
        factor: eta > 1.
    """

    def __init__(self, levels: int, factor: float) -> None:
        self._factor = factor
        self._scores: list[dict[int, float]] = [{} for _ in range(levels)]
        self._gone_on: list[set[int]] = [set() for _ in range(levels)]
        self._ends: dict[int, float] = {}
        self._out: set[int] = set()
        self._forgotten: list[int] = []

    def add(self, level: int, trial: int, score: float, *, gone_on: bool = False) -> None:
        """Add the score of a short run; `gone_on` if an earlier process promoted the trial."""
        self._scores[level][trial] = score
        if gone_on:
            self._gone_on[level].add(trial)

    def end(self, trial: int, score: float) -> None:
        """Add the score of a trial's whole training."""
        self._ends[trial] = score

    def pairs(self, level: int) -> list[tuple[float, float]]:
        """Return (score at a level, score at the next stage) of the trials that have both."""
        later = self._scores[level + 1] if level + 1 < len(self._scores) else self._ends
        return [(s, later[trial]) for trial, s in self._scores[level].items() if trial in later]

    def misled(self, level: int) -> int:
        """Return over how many trials a level ranks no better than chance; 0 if it does better.

        At least eight trials that also trained the next stage decide this.
        """
        pairs = self.pairs(level)
        if len(pairs) < _TRUSTED_TRIALS:
            return 0
        from scipy.stats import spearmanr  # slow to import, and rarely needed

        scores, later = zip(*pairs, strict=True)
        alike = len({*scores}) == 1 or len({*later}) == 1
        return 0 if alike or spearmanr(scores, later).statistic > 0 else len(pairs)

    def forget(self, level: int) -> None:
        """Stop judging by a level's scores so far; trials that they did not promote are out."""
        self._forgotten += [t for t in self._scores[level] if t not in self._gone_on[level]]
        self._scores[level].clear()

    def leave(self, trial: int) -> None:
        """Take a trial out that ended for good: its scores stay, and it is promoted no more."""
        self._out.add(trial)

    def next(self, settled: int) -> tuple[int, int] | None:
        """Return (trial, level that it has passed) of the next promotion, the highest level first.

        Args:
            settled: number of levels, from the lowest, at which no further run will end.

        Returns:
            None if no promotion is due.
        """
        settled = self._still_settled(settled)
        for level in reversed(range(len(self._scores))):
            for trial in self._due(level, settled):
                self._gone_on[level].add(trial)
                return trial, level
        return None

    def losers(self, settled: int) -> list[int]:
        """Return trials at a settled or forgotten level that will never be promoted."""
        settled = self._still_settled(settled)
        return [trial for trial in self._forgotten if trial not in self._out] + [
            trial
            for level in range(settled)
            for trial in self._scores[level]
            if trial not in self._chosen(level, settled)
            and trial not in self._gone_on[level]
            and trial not in self._out
        ]

    def why_lost(self, trial: int, level: int, epochs: int) -> EarlyStop | None:
        """Return why a trial that ended at a settled level is a loser there.

        Args:
            trial: one of `losers`.
            level: the highest level that it has ended.
            epochs: the length of that level's short runs.

        Returns:
            None if the level's scores were forgotten.
        """
        scores = self._scores[level]
        if trial not in scores:
            return None
        chosen, score = self._chosen(level, level + 1), scores[trial]
        rank = 1 + sum(other > score for other in scores.values())
        threshold = scores[chosen[-1]]
        return EarlyStop(epochs, score, threshold, rank, len(scores), "copy")

    def _still_settled(self, settled: int) -> int:
        """Return how many levels are settled: one that a promotion leads to is not."""
        due = (level + 1 for level in range(settled) if self._due(level, settled))
        return min(due, default=settled)

    def _due(self, level: int, settled: int) -> list[int]:
        gone = self._gone_on[level] | self._out
        return [trial for trial in self._chosen(level, settled) if trial not in gone]

    def _chosen(self, level: int, settled: int) -> list[int]:
        scores = self._scores[level]
        share = len(scores) / self._factor
        count = math.ceil(share) if level < settled else math.floor(share)
        ranked = sorted(scores, key=lambda trial: (-scores[trial], trial))
        return ranked[:count]
