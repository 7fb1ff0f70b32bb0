"""Measure how well each rung predicted the end, on a study's own complete trials."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from ltat_tune.results.model import RungQuality
from ltat_tune.search.rungs import Rungs

LEAST_PAIRS = 4  # trials; with fewer a rank correlation says nothing


def rung_quality(rungs: Rungs, rows: Sequence[FrozenTrial]) -> list[RungQuality]:
    """Return each rung's kind, epochs, and rank correlation of its scores with the end.

    Only trials that trained to their end count, and those are the ones that the rung let pass.
    Among all trials the correlation would be higher. It is None with too few trials.

    Args:
        rungs: the rungs of the study.
        rows: complete trials.
    """
    kinds = [("copy", e) for e in rungs.copies]
    kinds += [("probe" if e in rungs.probes else "prefix", e) for e in rungs.judged]
    qualities = []
    for kind, epoch in kinds:
        pairs = [(r.intermediate_values[epoch], r.values[0]) for r in rows
                 if epoch in r.intermediate_values and r.values]  # fmt: skip
        correlation = None
        scores, ends = [a for a, _ in pairs], [b for _, b in pairs]
        if len(pairs) >= LEAST_PAIRS and len(set(scores)) > 1 and len(set(ends)) > 1:
            from scipy.stats import spearmanr  # the import is slow, and rarely needed

            correlation = float(spearmanr(scores, ends).statistic)
        qualities.append(
            RungQuality(kind=kind, epochs=epoch, trials=len(pairs), correlation=correlation)
        )
    return qualities
